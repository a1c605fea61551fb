use crate::run::{entries, raftmq, run};

#[test]
fn the_demo_keeps_what_it_promises_and_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let ended = run(raftmq(home.path()).args(["demo", "--seconds", "2"]).env("TMPDIR", home.path()));
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    for text in ["kill -9 ", "no send was acknowledged", "every one read back", "the same on all three members"] {
        assert!(ended.stdout.contains(text), "{text:?} is missing in:\n{}", ended.stdout);
    }
    assert!(!ended.stdout.contains('\x1b'), "no terminal, no escapes");
    assert_eq!(entries(home.path()), [""; 0]);
}
