# shellcheck shell=bash
# What the run scripts of interop/ share: their common options, a target on free ports, and its end. To be sourced.
#
# The script sets `server` (version of Apache's servers), may define own_option, calls `parse_options "$@"`, builds its
# suite, calls `prepare`, and runs the suite against $namesrv with `run_suite`. State lies in $work, which is removed.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=java namesrv='' server=4.9.7 scenarios=()
raftmq=${RAFTMQ_BIN:-$root/target/debug/raftmq}

# own_option NAME VALUE: sets `took` to how many words a further option of the script takes; fails for an unknown one.
own_option() { return 1; }

# The comment at the head of the script is its help.
parse_options() {
    local took
    while [ $# -gt 0 ]; do
        took=2
        case $1 in
            --target) target=${2:?--target java, single or three} ;;
            --namesrv) namesrv=${2:?--namesrv HOST:PORT} ;;
            --server) server=${2:?--server VERSION} ;;
            -h|--help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;;
            -*) own_option "$1" "${2:-}" || { echo "unknown option $1" >&2; exit 2; } ;;
            *) scenarios+=("$1"); took=1 ;;
        esac
        shift "$took" 2>/dev/null || shift
    done
}

# prepare: makes $work, and starts the target unless --namesrv named one that runs.
prepare() {
    [ "$target" != java ] || [ -n "$namesrv" ] || "$root/interop/peers/fetch" "$server" >/dev/null || exit 1
    work=$(mktemp -d "${TMPDIR:-/tmp}/raftmq-interop.XXXXXX")
    trap stop_all EXIT
    trap 'exit 130' INT TERM
    mkdir -p "$work/client"
    [ -n "$namesrv" ] || start_target
}

pids=()
stop_all() {
    local pid
    [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null
    for _ in $(seq 100); do
        local alive=
        for pid in "${pids[@]}"; do kill -0 "$pid" 2>/dev/null && alive=yes; done
        [ -z "$alive" ] && break
        sleep 0.1
    done
    for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null; wait "$pid" 2>/dev/null; done
    if [ -n "${KEEP:-}" ]; then echo "kept $work"; else rm -rf "$work"; fi
}

fail() {
    echo "$1" >&2
    for log in "$work"/*.log; do
        [ -s "$log" ] && { echo "--- $(basename "$log"), last lines"; tail -n "${LOG_LINES:-30}" "$log"; } >&2
    done
    exit 1
}

# run_suite SECONDS COMMAND...: runs the suite in the foreground; over its time it is killed, which is a failure. Clients
# chat on stderr about loggers and lost connections; what is to be read comes on stdout.
run_suite() {
    local seconds=$1 code
    shift
    HOME=$work/client timeout --foreground --kill-after=5 "$seconds" "$@" 2>"$work/suite.log"
    code=$?
    [ $code -ne 124 ] || fail "the suite took more than $seconds s"
    [ $code -eq 0 ] || fail "the suite failed against $target (exit $code)"
}

# Sets `port` to one such that port-2 (VIP), +1 (HA) and +2 (Raft) are free as well; below the kernel's ephemeral range.
# Not in a subshell, which would draw the same random number each time.
ports_drawn=' '
free_port() {
    local near taken=yes
    while [ -n "$taken" ]; do
        port=$((20005 + RANDOM % 1000 * 10))
        taken=
        [[ $ports_drawn == *" $port "* ]] && taken=yes
        for near in -2 0 1 2; do
            (exec 3<>"/dev/tcp/127.0.0.1/$((port + near))") 2>/dev/null && taken=yes
        done
    done
    ports_drawn+="$port "
}

# start NAME COMMAND...: runs it in the background with its output in NAME.log.
start() {
    local name=$1
    shift
    HOME=$work/$name "$@" >"$work/$name.log" 2>&1 &
    pids+=($!)
    started=$!
}

await_line() {
    local name=$1 line=$2 pid=$3
    for _ in $(seq 600); do
        grep -q "$line" "$work/$name.log" 2>/dev/null && return
        kill -0 "$pid" 2>/dev/null || fail "$name ended before '$line'"
        sleep 0.1
    done
    fail "$name did not say '$line' within 60 s"
}

# A broker may say that it serves before the name server knows it (Java's 5.5.0 by up to ten seconds, a group until one of
# its members leads). Until then no topic has a route, and clients that start fast fail at once.
await_route() {
    local route
    [ -x "$raftmq" ] || { echo "no $raftmq to ask for routes: not waiting for one" >&2; return; }
    for _ in $(seq 600); do
        route=$("$raftmq" admin topicRoute -n "$namesrv" -t TBW102 2>"$work/admin.log")
        [[ $route == *'"0":'* ]] && return
        sleep 0.1
    done
    fail "no broker is known to the name server within 60 s"
}

broker_config() {
    local name=$1 port=$2
    cat <<CONF
brokerClusterName=DefaultCluster
brokerName=broker-a
brokerIP1=127.0.0.1
listenPort=$port
namesrvAddr=$namesrv
storePathRootDir=$work/$name/store
storePathCommitLog=$work/$name/store/commitlog
mappedFileSizeCommitLog=67108864
autoCreateTopicEnable=true
CONF
}

# start_target: `java` is Apache's own broker of version $server, `single` one broker of ours, `three` a Raft group of ours.
start_target() {
    local i
    free_port
    namesrv=127.0.0.1:$port
    mkdir -p "$work/namesrv"
    printf 'listenPort=%s\nkvConfigPath=%s/kv.json\nconfigStorePath=%s/namesrv.properties\n' \
        "$port" "$work/namesrv" "$work/namesrv" >"$work/namesrv/namesrv.conf"
    if [ "$target" = java ]; then
        start namesrv "$root/interop/peers/serve" "$server" namesrv "$work/namesrv" "$work/namesrv/namesrv.conf"
    else
        [ -x "$raftmq" ] || fail "no $raftmq: run cargo build, or set RAFTMQ_BIN"
        start namesrv "$raftmq" namesrv -c "$work/namesrv/namesrv.conf"
    fi
    await_line namesrv 'boot success' "$started"
    case $target in
        java|single)
            mkdir -p "$work/broker"
            free_port
            { broker_config broker "$port"; printf 'brokerId=0\nbrokerRole=ASYNC_MASTER\nflushDiskType=ASYNC_FLUSH\n'; } \
                >"$work/broker/broker.conf"
            brokers=(broker)
            start_broker broker
            ;;
        three)
            local ports=() peers=''
            brokers=(broker-0 broker-1 broker-2)
            for i in 0 1 2; do
                free_port
                ports[i]=$port
                peers+="n$i-127.0.0.1:$((ports[i] + 2));"
            done
            for i in 0 1 2; do
                mkdir -p "$work/broker-$i"
                { broker_config "broker-$i" "${ports[i]}"
                  printf 'enableDLegerCommitLog=true\ndLegerGroup=broker-a\ndLegerPeers=%s\ndLegerSelfId=n%s\n' \
                      "${peers%;}" "$i"; } >"$work/broker-$i/broker.conf"
                start_broker "broker-$i"
            done
            ;;
        *) fail "unknown target $target: java, single or three" ;;
    esac
    for i in "${brokers[@]}"; do await_line "$i" 'boot success' "${broker_pid[$i]}"; done
    await_route
}

# Without waiting: one member alone may have to wait for the others.
declare -A broker_pid
start_broker() {
    if [ "$target" = java ]; then
        start "$1" "$root/interop/peers/serve" "$server" broker "$work/$1" "$work/$1/broker.conf"
    else
        start "$1" "$raftmq" broker -c "$work/$1/broker.conf"
    fi
    broker_pid[$1]=$started
}

# restart_brokers stop|kill: ends each broker in turn, in order or with -9, and starts it again on its files.
restart_brokers() {
    local name signal=TERM
    [ "$1" = kill ] && signal=KILL
    for name in "${brokers[@]}"; do
        kill -s $signal "${broker_pid[$name]}"
        wait "${broker_pid[$name]}" 2>/dev/null
        mv "$work/$name.log" "$work/$name-before.log"
        start_broker "$name"
        await_line "$name" 'boot success' "${broker_pid[$name]}"
    done
}
