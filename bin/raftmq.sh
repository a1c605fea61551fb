# Sourced by the scripts beside it: finds the raftmq binary into RAFTMQ, or ends with an error.
# Beside this folder's parent (an unpacked release), or where cargo put it (a source tree).

raftmq_home=$(cd "$(dirname "$0")/.." && pwd)
RAFTMQ=
for candidate in \
    "$raftmq_home/bin/raftmq" \
    "$raftmq_home/raftmq" \
    "$raftmq_home/target/release/raftmq" \
    "$raftmq_home/target/debug/raftmq"
do
    if [ -x "$candidate" ]; then
        RAFTMQ=$candidate
        break
    fi
done
if [ -z "$RAFTMQ" ]; then
    echo "error: the raftmq binary is not built; run 'cargo build --release' in $raftmq_home" >&2
    exit 1
fi
