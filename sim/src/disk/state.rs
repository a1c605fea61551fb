//! The platter and the page cache of one simulated disk, and which process may use them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::directory::{Directory, NameChange, NodeId};
use super::faults::{Call, Faults, Kind, Moment, Survival};
use super::image::FileImage;
use super::split;
use crate::SimRng;

const ROOT: NodeId = 0;

#[derive(Clone)]
enum Node {
    Directory(Directory),
    File(FileImage),
}

/// What a call that is under way is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Whole,
    /// Only so many sectors of a write; the process dies.
    Prefix(usize),
}

#[derive(Clone)]
pub(super) struct State {
    nodes: BTreeMap<NodeId, Node>,
    next_node: NodeId,
    next_handle: u64,
    pub(super) incarnation: u64,
    pub(super) alive: bool,
    /// Who holds the lock of a file: a handle of the present incarnation.
    pub(super) locks: BTreeMap<NodeId, u64>,
    pub(super) faults: Faults,
    pub(super) calls: Vec<Call>,
    rng: SimRng,
}

impl State {
    pub(super) fn new(seed: u64) -> State {
        State {
            nodes: BTreeMap::from([(ROOT, Node::Directory(Directory::default()))]),
            next_node: ROOT + 1,
            next_handle: 0,
            incarnation: 0,
            alive: true,
            locks: BTreeMap::new(),
            faults: Faults::default(),
            calls: Vec::new(),
            rng: SimRng::new(seed),
        }
    }

    // Life of processes.

    pub(super) fn end_incarnation(&mut self) {
        self.alive = false;
        self.locks.clear();
    }

    pub(super) fn begin_incarnation(&mut self) {
        self.end_incarnation();
        self.incarnation += 1;
        self.alive = true;
        self.faults = Faults::default();
        self.calls.clear();
        self.drop_unreachable();
    }

    /// Runs `act` as one call of a process, unless it is dead or dies now.
    pub(super) fn call<T>(
        &mut self,
        incarnation: u64,
        call: Call,
        act: impl FnOnce(&mut State, Fate) -> io::Result<T>,
    ) -> io::Result<T> {
        if !self.alive || incarnation != self.incarnation {
            return Err(killed());
        }
        let number = self.calls.len() as u64;
        let is_write = call.kind == Kind::Write;
        self.calls.push(call);
        match self.faults.kill {
            Some((at, moment)) if at == number => {
                match moment {
                    Moment::Before => {}
                    Moment::After => drop(act(self, Fate::Whole)),
                    Moment::Within { sectors } if is_write => drop(act(self, Fate::Prefix(sectors))),
                    Moment::Within { .. } => {}
                }
                self.end_incarnation();
                Err(killed())
            }
            _ => act(self, Fate::Whole),
        }
    }

    /// How many calls of this kind were made before the present one.
    pub(super) fn earlier(&self, kind: Kind) -> u64 {
        let earlier = self.calls.len().saturating_sub(1);
        self.calls[..earlier].iter().filter(|call| call.kind == kind).count() as u64
    }

    pub(super) fn new_handle(&mut self) -> u64 {
        self.next_handle += 1;
        self.next_handle
    }

    // The tree of names.

    pub(super) fn find(&self, path: &Path) -> io::Result<NodeId> {
        let mut at = ROOT;
        for component in path.components() {
            let name = match component {
                Component::RootDir | Component::CurDir => continue,
                Component::Normal(name) => name.to_str().ok_or(io::ErrorKind::InvalidInput)?,
                Component::ParentDir | Component::Prefix(_) => return Err(io::ErrorKind::InvalidInput.into()),
            };
            let Some(Node::Directory(directory)) = self.nodes.get(&at) else {
                return Err(io::ErrorKind::NotADirectory.into());
            };
            at = *directory.live.get(name).ok_or_else(|| not_found(path))?;
        }
        Ok(at)
    }

    pub(super) fn directory(&mut self, node: NodeId) -> io::Result<&mut Directory> {
        match self.nodes.get_mut(&node) {
            Some(Node::Directory(directory)) => Ok(directory),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn image(&mut self, node: NodeId) -> io::Result<&mut FileImage> {
        match self.nodes.get_mut(&node) {
            Some(Node::File(image)) => Ok(image),
            Some(Node::Directory(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<NodeId> {
        self.create(path, Node::File(FileImage::default()))
    }

    pub(super) fn create_directory(&mut self, path: &Path) -> io::Result<()> {
        self.create(path, Node::Directory(Directory::default())).map(|_| ())
    }

    fn create(&mut self, path: &Path, node: Node) -> io::Result<NodeId> {
        let (parent, name) = split(path)?;
        let parent = self.find(parent)?;
        let id = self.next_node;
        self.directory(parent)?.link(name, id);
        self.next_node += 1;
        self.nodes.insert(id, node);
        Ok(id)
    }

    pub(super) fn unlink(&mut self, path: &Path) -> io::Result<()> {
        let (parent, name) = split(path)?;
        let parent = self.find(parent)?;
        self.directory(parent)?.unlink(name).map(|_| ()).ok_or_else(|| not_found(path))
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let ((from_parent, from_name), (to_parent, to_name)) = (split(from)?, split(to)?);
        let (from_directory, to_directory) = (self.find(from_parent)?, self.find(to_parent)?);
        let node = self.find(from)?;
        self.directory(from_directory)?.live.remove(from_name);
        let target = self.directory(to_directory)?;
        target.live.insert(to_name.to_owned(), node);
        let (from, to) = (from_name.to_owned(), to_name.to_owned());
        target.journal.push(NameChange::Rename { from_directory, from, to, node });
        Ok(())
    }

    pub(super) fn sync_directory(&mut self, node: NodeId) {
        let Ok(directory) = self.directory(node) else { return };
        let moved = directory.sync();
        self.lose(moved);
    }

    fn lose(&mut self, moved: Vec<super::directory::Moved>) {
        for name in moved {
            if let Ok(directory) = self.directory(name.directory) {
                directory.lose(&name);
            }
        }
    }

    /// A node and everything below it, parents before children, with whether each is a directory.
    pub(super) fn tree(&self, node: NodeId, path: &Path) -> io::Result<Vec<(PathBuf, bool)>> {
        let mut found = Vec::new();
        let mut open = vec![(node, path.to_owned())];
        while let Some((node, path)) = open.pop() {
            let is_dir = match self.nodes.get(&node) {
                Some(Node::Directory(directory)) => {
                    open.extend(directory.live.iter().rev().map(|(name, node)| (*node, path.join(name))));
                    true
                }
                _ => false,
            };
            found.push((path, is_dir));
        }
        Ok(found)
    }

    // The platter.

    /// The power fails.
    pub(super) fn cut(&mut self, rng: &SimRng, survival: Survival) {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in &ids {
            let moved = match self.nodes.get_mut(id) {
                Some(Node::Directory(directory)) => directory.cut(rng, survival),
                Some(Node::File(image)) => {
                    image.cut(rng, survival);
                    continue;
                }
                None => continue,
            };
            self.lose(moved);
        }
        for node in self.nodes.values_mut() {
            if let Node::Directory(directory) = node {
                directory.live = directory.durable.clone();
            }
        }
        self.drop_unreachable();
    }

    pub(super) fn fail_sync(&mut self, node: NodeId) -> io::Result<()> {
        let (rng, evict) = (self.rng.clone(), self.faults.evict_after_failed_sync);
        self.image(node)?.fail_sync(&rng, evict);
        self.rng = rng;
        Err(io::Error::other("simulated EIO from fsync"))
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.nodes.values().any(|node| match node {
            Node::Directory(directory) => !directory.journal.is_empty(),
            Node::File(image) => image.is_dirty(),
        })
    }

    pub(super) fn used_bytes(&self) -> u64 {
        let used = |node: &Node| match node {
            Node::File(image) => image.used() as u64,
            Node::Directory(_) => 0,
        };
        self.nodes.values().map(used).sum()
    }

    pub(super) fn files(&self, durable: bool) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut open = vec![(ROOT, PathBuf::from("/"))];
        while let Some((node, path)) = open.pop() {
            match self.nodes.get(&node) {
                Some(Node::Directory(directory)) => {
                    let names = if durable { &directory.durable } else { &directory.live };
                    open.extend(names.iter().map(|(name, node)| (*node, path.join(name))));
                }
                Some(Node::File(image)) => {
                    files.insert(path, if durable { image.durable() } else { image.live() }.to_vec());
                }
                None => {}
            }
        }
        files
    }

    /// Forgets files that no name leads to. Only between incarnations: an open file needs no name.
    fn drop_unreachable(&mut self) {
        let mut reachable = std::collections::BTreeSet::from([ROOT]);
        let mut open = vec![ROOT];
        while let Some(node) = open.pop() {
            let Some(Node::Directory(directory)) = self.nodes.get(&node) else { continue };
            let journalled = directory.journal.iter().map(|change| match change {
                NameChange::Link { node, .. } | NameChange::Unlink { node, .. } | NameChange::Rename { node, .. } => {
                    *node
                }
            });
            for child in directory.live.values().chain(directory.durable.values()).copied().chain(journalled) {
                if reachable.insert(child) {
                    open.push(child);
                }
            }
        }
        self.nodes.retain(|node, _| reachable.contains(node));
    }
}

pub(super) fn parent_and_name(path: &Path) -> Option<(&Path, &str)> {
    Some((path.parent()?, path.file_name()?.to_str()?))
}

fn killed() -> io::Error {
    io::Error::other("the simulated process was killed")
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no such file: {}", path.display()))
}
