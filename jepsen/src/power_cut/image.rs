//! An ext4 file system in a file, mounted through a loop device, whose power can be cut.
#![expect(clippy::disallowed_methods, reason = "this program looks at a store from outside")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Result;

const IMAGE_BYTES: u64 = 256 << 20;

/// Says what is missing before anything is made.
pub(crate) fn check_privileges() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err("power-cut needs root: it mounts ext4 images and shuts them down".into());
    }
    for tool in ["mkfs.ext4", "mount", "umount", "perl"] {
        let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output()?;
        if !found.status.success() {
            return Err(format!("power-cut needs the program {tool}").into());
        }
    }
    Ok(())
}

fn call(program: &str, arguments: &[&OsStr]) -> Result<()> {
    let output = Command::new(program).args(arguments).output()?;
    if output.status.success() {
        return Ok(());
    }
    let line = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} failed: {}", line.trim()).into())
}

/// A mounted image; unmounted and removed at the end.
pub(crate) struct Image {
    file: PathBuf,
    folder: PathBuf,
    mounted: std::cell::Cell<bool>,
}

impl Image {
    pub(crate) fn create(folder: &Path, number: u64) -> Result<Image> {
        let image = Image {
            file: folder.join(format!("{number}.ext4")),
            folder: folder.join(format!("{number}")),
            mounted: std::cell::Cell::new(false),
        };
        fs::create_dir_all(&image.folder)?;
        File::create(&image.file)?.set_len(IMAGE_BYTES)?;
        call("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), image.file.as_os_str()])?;
        image.mount()?;
        Ok(image)
    }

    /// Where the store lies.
    pub(crate) fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    fn mount(&self) -> Result<()> {
        // A commit interval longer than any run: the journal commits only for an fsync.
        let options = "loop,commit=300".as_ref();
        call(
            "mount",
            &["-t".as_ref(), "ext4".as_ref(), "-o".as_ref(), options, self.file.as_os_str(), self.folder.as_os_str()],
        )?;
        self.mounted.set(true);
        Ok(())
    }

    fn unmount(&self) -> Result<()> {
        call("umount", &[self.folder.as_os_str()])?;
        self.mounted.set(false);
        Ok(())
    }

    /// The power fails: dirty pages and the open journal transaction are gone; later writes fail.
    ///
    /// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`. Perl makes the call, because an ioctl by number is
    /// `unsafe` in Rust and this workspace has `unsafe` in one module only.
    pub(crate) fn cut_power(&self) -> Result<()> {
        const SCRIPT: &str = concat!(
            r#"open(my $folder, "<", $ARGV[0]) or die "open: $!"; "#,
            r#"my $flags = pack("I", 2); ioctl($folder, 0x8004587d, $flags) or die "ioctl: $!""#
        );
        call("perl", &["-e".as_ref(), SCRIPT.as_ref(), self.folder.as_os_str()])
    }

    /// The machine comes up again; every process that used the file system must be gone.
    pub(crate) fn power_on(&self) -> Result<()> {
        self.unmount()?;
        self.mount()
    }

    pub(crate) fn remove(self) -> Result<()> {
        self.unmount()?;
        fs::remove_file(&self.file)?;
        Ok(())
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.mounted.get() {
            let _ = call("umount", &["-l".as_ref(), self.folder.as_os_str()]);
        }
    }
}
