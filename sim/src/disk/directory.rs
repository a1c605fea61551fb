//! One directory in two images, and the journal of names between them.

use std::collections::BTreeMap;

use crate::SimRng;
use crate::disk::Survival;

pub(super) type NodeId = u64;

/// A change of names that is durable only after the directory is synced.
#[derive(Clone)]
pub(super) enum NameChange {
    Link {
        name: String,
        node: NodeId,
    },
    Unlink {
        name: String,
        node: NodeId,
    },
    /// Belongs to the directory that gets the name; all or nothing.
    Rename {
        from_directory: NodeId,
        from: String,
        to: String,
        node: NodeId,
    },
}

/// Names of a directory: live, durable, and what lies between.
#[derive(Clone, Default)]
pub(super) struct Directory {
    pub(super) live: BTreeMap<String, NodeId>,
    pub(super) durable: BTreeMap<String, NodeId>,
    pub(super) journal: Vec<NameChange>,
}

/// A durable name that a rename out of this directory takes away.
pub(super) struct Moved {
    pub(super) directory: NodeId,
    pub(super) name: String,
    pub(super) node: NodeId,
}

impl Directory {
    pub(super) fn link(&mut self, name: &str, node: NodeId) {
        self.live.insert(name.to_owned(), node);
        self.journal.push(NameChange::Link { name: name.to_owned(), node });
    }

    pub(super) fn unlink(&mut self, name: &str) -> Option<NodeId> {
        let node = self.live.remove(name)?;
        self.journal.push(NameChange::Unlink { name: name.to_owned(), node });
        Some(node)
    }

    /// Makes every change of names durable; returns the names that other directories lose by it.
    pub(super) fn sync(&mut self) -> Vec<Moved> {
        self.settle(self.journal.len())
    }

    /// The power fails: the first so many changes survive. File systems with a journal keep their order within a
    /// directory; between two directories nothing is promised.
    pub(super) fn cut(&mut self, rng: &SimRng, survival: Survival) -> Vec<Moved> {
        self.settle(survival.prefix(rng, self.journal.len()))
    }

    fn settle(&mut self, survivors: usize) -> Vec<Moved> {
        let mut moved = Vec::new();
        for change in std::mem::take(&mut self.journal).into_iter().take(survivors) {
            match change {
                NameChange::Link { name, node } => {
                    self.durable.insert(name, node);
                }
                NameChange::Unlink { name, node } => self.forget(&name, node),
                NameChange::Rename { from_directory, from, to, node } => {
                    self.durable.insert(to, node);
                    self.forget(&from, node);
                    moved.push(Moved { directory: from_directory, name: from, node });
                }
            }
        }
        moved
    }

    /// Removes a durable name if it still means `node`, and a link of it that is only journalled.
    pub(super) fn forget(&mut self, name: &str, node: NodeId) {
        if self.durable.get(name) == Some(&node) {
            self.durable.remove(name);
        }
    }

    /// After a sync or a cut of another directory: the name has left this one.
    pub(super) fn lose(&mut self, moved: &Moved) {
        self.forget(&moved.name, moved.node);
        self.journal.retain(
            |change| !matches!(change, NameChange::Link { name, node } if *name == moved.name && *node == moved.node),
        );
    }
}
