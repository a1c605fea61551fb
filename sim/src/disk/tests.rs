use super::*;
use crate::SimRng;

fn path(name: &str) -> PathBuf {
    Path::new("/").join(name)
}

/// A file with this durable content and name.
fn with_file(content: &[u8]) -> (SimDisk, Arc<dyn DiskFile>) {
    let disk = SimDisk::new(1);
    let file = disk.open(&path("f"), Open::Create).unwrap();
    file.write_at(content, 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    (disk, file)
}

fn after_cut(disk: &SimDisk, survival: Survival) -> Option<Vec<u8>> {
    let fork = disk.fork();
    fork.power_cut_with(&SimRng::new(7), survival);
    fork.reboot().read(&path("f")).ok()
}

#[test]
fn synced_bytes_survive_and_others_may_not() {
    let (disk, file) = with_file(b"old");
    file.write_at(b"new", 0).unwrap();
    file.write_at(b"tail", 600).unwrap();
    assert_eq!(after_cut(&disk, Survival::NONE).unwrap(), b"old");
    assert_eq!(after_cut(&disk, Survival::ALL).unwrap().len(), 604);
    file.sync_data().unwrap();
    assert_eq!(&after_cut(&disk, Survival::NONE).unwrap()[600..], b"tail");
    assert!(!disk.is_dirty());
}

#[test]
fn a_kill_keeps_what_was_written() {
    let (disk, file) = with_file(b"old");
    file.write_at(b"new", 0).unwrap();
    disk.kill();
    assert!(file.write_at(b"zombie", 0).is_err(), "a dead process writes nothing");
    assert!(disk.open(&path("g"), Open::Create).is_err());
    let next = disk.reboot();
    assert_eq!(next.read(&path("f")).unwrap(), b"new");
    assert!(file.sync_data().is_err(), "handles stay dead after the reboot");
}

#[test]
fn sectors_of_one_write_survive_one_by_one() {
    let (disk, file) = with_file(&[b'a'; 4 * SECTOR_BYTES]);
    file.write_at(&[b'b'; 4 * SECTOR_BYTES], 0).unwrap();
    let mut torn_in_the_middle = false;
    for seed in 0..64 {
        let fork = disk.fork();
        fork.power_cut_with(&SimRng::new(seed), Survival::HALF);
        let bytes = fork.reboot().read(&path("f")).unwrap();
        for sector in bytes.chunks(SECTOR_BYTES) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is whole");
        }
        torn_in_the_middle |= bytes[0] == b'b' && bytes[SECTOR_BYTES] == b'a' && bytes[2 * SECTOR_BYTES] == b'b';
    }
    assert!(torn_in_the_middle);
}

#[test]
fn a_sector_may_survive_in_an_older_unsynced_content() {
    let (disk, file) = with_file(b"1");
    file.write_at(b"2", 0).unwrap();
    file.write_at(b"3", 0).unwrap();
    let seen: std::collections::BTreeSet<Vec<u8>> = (0..200)
        .map(|seed| {
            let fork = disk.fork();
            fork.power_cut_with(&SimRng::new(seed), Survival::HALF);
            fork.reboot().read(&path("f")).unwrap()
        })
        .collect();
    assert_eq!(seen, [b"1".to_vec(), b"2".to_vec(), b"3".to_vec()].into());
}

#[test]
fn a_cut_is_a_function_of_its_seed() {
    let (disk, file) = with_file(&[b'a'; 16 * SECTOR_BYTES]);
    file.write_at(&[b'b'; 16 * SECTOR_BYTES], 0).unwrap();
    let cut = |seed| {
        let fork = disk.fork();
        fork.power_cut(seed);
        fork.files()
    };
    assert_eq!(cut(3), cut(3));
    assert!((0..20).any(|seed| cut(seed) != cut(3)));
}

#[test]
fn a_new_file_without_sync_dir_may_be_lost_though_its_bytes_are_synced() {
    let disk = SimDisk::new(1);
    let file = disk.open(&path("f"), Open::Create).unwrap();
    file.write_at(b"bytes", 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(after_cut(&disk, Survival::NONE), None);
    assert_eq!(after_cut(&disk, Survival::ALL).unwrap(), b"bytes");
    disk.sync_dir(Path::new("/")).unwrap();
    assert_eq!(after_cut(&disk, Survival::NONE).unwrap(), b"bytes");
}

#[test]
fn a_rename_without_sync_dir_may_be_lost_but_never_half() {
    let (disk, _) = with_file(b"old");
    let file = disk.open(&path("f.tmp"), Open::Truncate).unwrap();
    file.write_at(b"new", 0).unwrap();
    file.sync_data().unwrap();
    disk.rename(&path("f.tmp"), &path("f")).unwrap();
    let found: std::collections::BTreeSet<_> = (0..64)
        .map(|seed| {
            let fork = disk.fork();
            fork.power_cut_with(&SimRng::new(seed), Survival::HALF);
            fork.reboot().read(&path("f")).unwrap()
        })
        .collect();
    assert_eq!(found, [b"old".to_vec(), b"new".to_vec()].into());
    disk.sync_dir(Path::new("/")).unwrap();
    assert_eq!(after_cut(&disk, Survival::NONE).unwrap(), b"new");
    assert_eq!(disk.durable_files().len(), 1, "the temporary name is gone");
}

#[test]
fn replace_leaves_the_old_or_the_new_content_wherever_the_process_dies() {
    let (disk, _) = with_file(b"old");
    for at in 0.. {
        let fork = disk.fork();
        let calls = fork.calls().len() as u64;
        fork.set_faults(Faults { kill: Some((calls + at, Moment::Within { sectors: 1 })), ..Faults::default() });
        let replaced = fork.replace(&path("f"), &[b'n'; 2000]);
        for seed in 0..8 {
            let cut = fork.fork();
            cut.power_cut(seed);
            let content = cut.reboot().read(&path("f")).unwrap();
            let new = content == [b'n'; 2000];
            assert!(new || content == b"old", "{content:?}");
            assert!(new || replaced.is_err(), "acknowledged and lost");
        }
        if replaced.is_ok() {
            assert!(at > 4);
            break;
        }
    }
}

#[test]
fn a_removal_without_sync_dir_may_come_back() {
    let (disk, _) = with_file(b"old");
    disk.remove_file(&path("f")).unwrap();
    assert!(!disk.exists(&path("f")));
    assert_eq!(after_cut(&disk, Survival::NONE).unwrap(), b"old");
    disk.sync_dir(Path::new("/")).unwrap();
    assert_eq!(after_cut(&disk, Survival::NONE), None);
}

#[test]
fn a_directory_whose_name_is_lost_takes_its_files_along() {
    let disk = SimDisk::new(1);
    disk.create_dir_all(&path("a/b")).unwrap();
    let file = disk.open(&path("a/b/f"), Open::Create).unwrap();
    file.write_at(b"bytes", 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(&path("a/b")).unwrap();
    disk.sync_dir(&path("a")).unwrap();
    assert!(disk.durable_files().is_empty());
    disk.sync_dir(Path::new("/")).unwrap();
    assert_eq!(disk.durable_files()[&path("a/b/f")], b"bytes");
    disk.remove_dir_all(&path("a")).unwrap();
    assert_eq!((disk.files().len(), disk.durable_files().len()), (0, 1));
}

#[test]
fn a_file_cut_short_shows_no_old_bytes_when_it_grows_again() {
    let (disk, file) = with_file(&[b'a'; 1500]);
    file.set_len(700).unwrap();
    file.set_len(1500).unwrap();
    let expected: Vec<u8> = [vec![b'a'; 700], vec![0; 800]].concat();
    assert_eq!(disk.read(&path("f")).unwrap(), expected);
    for seed in 0..100 {
        let fork = disk.fork();
        fork.power_cut_with(&SimRng::new(seed), Survival::HALF);
        let bytes = fork.reboot().read(&path("f")).unwrap();
        assert!(bytes.iter().take(700).all(|byte| *byte == b'a'), "what stayed is there");
        let uncut = bytes == [b'a'; 1500];
        assert!(uncut || bytes.iter().skip(700).all(|byte| *byte == 0), "{}", bytes.len());
    }
    file.sync_data().unwrap();
    assert_eq!(after_cut(&disk, Survival::NONE).unwrap(), expected);
}

#[test]
fn zeroing_and_allocation_are_durable_only_after_a_sync() {
    let (disk, file) = with_file(&[b'a'; 1024]);
    file.zero(512, 512).unwrap();
    file.allocate(4096).unwrap();
    assert_eq!(file.len().unwrap(), 4096);
    assert_eq!(after_cut(&disk, Survival::NONE).unwrap(), [b'a'; 1024]);
    file.sync_data().unwrap();
    let bytes = after_cut(&disk, Survival::NONE).unwrap();
    assert_eq!((bytes.len(), bytes[511], bytes[512]), (4096, b'a', 0));
}

#[test]
fn a_process_dies_before_after_or_within_a_call() {
    let (disk, _) = with_file(&[b'a'; 3 * SECTOR_BYTES]);
    let die = |moment| {
        let run = disk.fork().reboot();
        let file = run.open(&path("f"), Open::Write).unwrap();
        run.set_faults(Faults { kill: Some((1, moment)), ..Faults::default() });
        assert!(file.write_at(&[b'b'; 2 * SECTOR_BYTES], 256).is_err());
        assert!(!run.is_alive());
        let bytes = run.reboot().read(&path("f")).unwrap();
        bytes.iter().filter(|byte| **byte == b'b').count()
    };
    assert_eq!(die(Moment::Before), 0);
    assert_eq!(die(Moment::After), 2 * SECTOR_BYTES);
    assert_eq!(die(Moment::Within { sectors: 1 }), SECTOR_BYTES - 256);
    assert_eq!(die(Moment::Within { sectors: 2 }), 2 * SECTOR_BYTES - 256);
}

#[test]
fn after_a_failed_sync_the_next_one_lies() {
    for evict in [false, true] {
        let (disk, file) = with_file(&[b'a'; 8 * SECTOR_BYTES]);
        file.write_at(&[b'b'; 8 * SECTOR_BYTES], 0).unwrap();
        let faults = Faults { failing_sync: Some(1), evict_after_failed_sync: evict, ..Faults::default() };
        disk.set_faults(faults);
        assert!(file.sync_data().is_err());
        assert!(file.sync_data().is_ok(), "the second sync finds nothing dirty");
        let live = disk.read(&path("f")).unwrap();
        assert_eq!(live == [b'b'; 8 * SECTOR_BYTES], !evict, "the cache keeps or drops the pages");
        let cut = after_cut(&disk, Survival::ALL).unwrap();
        assert!(cut.contains(&b'a') && cut.contains(&b'b'), "some sectors never reached the platter");
    }
}

#[test]
fn after_a_failed_sync_a_restarted_process_reads_what_only_a_rewrite_saves() {
    let (disk, file) = with_file(&[b'a'; 8 * SECTOR_BYTES]);
    let earlier = disk.count(Kind::SyncData);
    disk.set_faults(Faults { failing_sync: Some(earlier), ..Faults::default() });
    file.write_at(&[b'b'; 8 * SECTOR_BYTES], 0).unwrap();
    assert!(file.sync_data().is_err());
    disk.kill();
    let next = disk.reboot();
    assert_eq!(next.read(&path("f")).unwrap(), [b'b'; 8 * SECTOR_BYTES], "the cache outlives the process");
    let file = next.open(&path("f"), Open::Write).unwrap();
    assert!(file.sync_data().is_ok(), "nothing is dirty, and the error was told to the dead process");
    assert!(after_cut(&next, Survival::ALL).unwrap().contains(&b'a'), "though it never reached the platter");
    file.write_at(&next.read(&path("f")).unwrap(), 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(after_cut(&next, Survival::NONE).unwrap(), [b'b'; 8 * SECTOR_BYTES]);
}

#[test]
fn each_handle_is_told_of_a_failed_sync_once() {
    let (disk, first) = with_file(b"old");
    let second = disk.open(&path("f"), Open::Write).unwrap();
    let earlier = disk.count(Kind::SyncData);
    disk.set_faults(Faults { failing_sync: Some(earlier), ..Faults::default() });
    first.write_at(b"new", 0).unwrap();
    assert!(first.sync_data().is_err());
    let third = disk.open(&path("f"), Open::Write).unwrap();
    assert!(first.sync_data().is_ok() && third.sync_data().is_ok());
    assert!(second.sync_data().is_err(), "it was open when the sync failed");
    assert!(second.sync_data().is_ok());
}

#[test]
fn a_failing_write_writes_nothing() {
    let (disk, file) = with_file(b"old");
    disk.set_faults(Faults { failing_write: Some(1), ..Faults::default() });
    assert!(file.write_at(b"new", 0).is_err());
    assert_eq!(disk.read(&path("f")).unwrap(), b"old");
    file.write_at(b"new", 0).unwrap();
}

#[test]
fn a_full_disk_takes_what_fits_and_reserved_blocks_are_safe() {
    let (disk, file) = with_file(b"");
    disk.set_faults(Faults { capacity_bytes: Some(4 * SECTOR_BYTES as u64), ..Faults::default() });
    assert_eq!(file.allocate(5 * SECTOR_BYTES as u64).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.allocate(2 * SECTOR_BYTES as u64).unwrap();
    let other = disk.open(&path("g"), Open::Create).unwrap();
    assert_eq!(other.write_at(&[1; 3 * SECTOR_BYTES], 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(other.len().unwrap(), 2 * SECTOR_BYTES as u64);
    assert_eq!(disk.space(Path::new("/")).unwrap().available_bytes, 0);
    file.write_at(&[1; 2 * SECTOR_BYTES], 0).unwrap();
}

#[test]
fn a_lying_sync_keeps_nothing() {
    let (disk, file) = with_file(b"old");
    disk.set_faults(Faults { sync_data_lies: Lies::Below(path("g")), ..Faults::default() });
    file.write_at(b"mid", 0).unwrap();
    file.sync_data().unwrap();
    disk.set_faults(Faults { sync_data_lies: Lies::Everybody, sync_dir_lies: true, ..Faults::default() });
    file.write_at(b"new", 0).unwrap();
    file.sync_data().unwrap();
    disk.remove_file(&path("f")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    assert_eq!(after_cut(&disk, Survival::NONE).unwrap(), b"mid");
}

#[test]
fn locks_end_with_the_handle_and_with_the_process() {
    let (disk, first) = with_file(b"");
    let second = disk.open(&path("f"), Open::Write).unwrap();
    assert!(first.try_lock().unwrap() && first.try_lock().unwrap());
    assert!(!second.try_lock().unwrap());
    drop(first);
    assert!(second.try_lock().unwrap());
    let next = disk.reboot();
    let third = next.open(&path("f"), Open::Write).unwrap();
    assert!(third.try_lock().unwrap());
    drop(second);
    let fourth = next.open(&path("f"), Open::Write).unwrap();
    assert!(!fourth.try_lock().unwrap(), "a zombie's drop frees nothing");
}

#[test]
fn slices_own_their_bytes_and_know_the_bounds() {
    let (_, file) = with_file(b"abcdef");
    let slice = file.slice(2, 3).unwrap();
    file.write_at(b"xyz", 2).unwrap();
    assert_eq!((slice.as_ref(), file.slice(2, 3).unwrap().as_ref()), (&b"cde"[..], &b"xyz"[..]));
    assert_eq!(file.slice(4, 3).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(file.read_at(&mut [0; 3], 4).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn calls_are_counted_by_kind() {
    let (disk, file) = with_file(b"abc");
    file.write_at(b"de", 3).unwrap();
    assert_eq!((disk.count(Kind::Write), disk.count(Kind::SyncData), disk.written_bytes()), (2, 1, 5));
    disk.flip_bit(&path("f"), 0, 0);
    assert_eq!(disk.files()[&path("f")], b"`bcde");
    assert_eq!(disk.calls().len(), 5, "looking from outside is no call");
}
