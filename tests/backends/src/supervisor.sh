# Keeps one server and its folder; ends both when standard input ends, so also when whoever holds it was killed.
# Arguments: where the folder is to stand, the signal that ends the server. FINALLY: what to do before the folder goes.
# Orders on standard input, one word a line; run and start are followed by their arguments, one a line, and an empty line.

base=$1 signal=$2 finally=$FINALLY pid=
unset FINALLY

# Its standard input is the server's life line, and the answers may have no reader any more.
trap : PIPE

running() {
    [ -n "$pid" ] || return 1
    # Collects a server that has ended; as a zombie it would still look alive.
    jobs >/dev/null 2>&1
    kill -0 "$pid" 2>/dev/null
}

children() {
    if [ -r "/proc/$1/task/$1/children" ]; then
        cat "/proc/$1/task/$1/children"
    else
        ps -A -o pid= -o ppid= | awk -v parent="$1" '$2 == parent { print $1 }'
    fi
}

# Each is stopped before its children are looked up, so that none is born meanwhile.
kill_tree() {
    kill -s STOP "$1" 2>/dev/null
    gone="$gone $1"
    for child in $(children "$1" 2>/dev/null); do
        kill_tree "$child"
    done
    kill -s KILL "$1" 2>/dev/null
}

still_there() {
    for one in $gone; do
        case $(sed -n 's/^State:[[:space:]]*//p' "/proc/$one/status" 2>/dev/null) in
            '' | Z*) ;;
            *) return 0 ;;
        esac
    done
    return 1
}

kill_all() {
    running || return 0
    gone=
    kill_tree "$pid"
    wait "$pid" 2>/dev/null
    tries=0
    while still_there && [ $tries -lt 100 ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
    pid=
}

over() {
    trap '' INT TERM HUP
    if running; then
        kill -s "$signal" "$pid" 2>/dev/null
        tries=0
        while running && [ $tries -lt 200 ]; do
            sleep 0.05
            tries=$((tries + 1))
        done
        kill_all
    fi
    eval "$finally" >/dev/null 2>&1 </dev/null
    cd /
    # What a killed server's children still write as they end may come between.
    tries=0
    until rm -rf "$dir" 2>/dev/null || [ $tries -ge 20 ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
}

dir=$(mktemp -d "$base/artifact-store-test-XXXXXX") || exit 1
trap over EXIT
trap 'exit 0' INT TERM HUP
cd "$dir" || exit 1
log=$dir/log
: >"$log"
echo "$dir"

while IFS= read -r order; do
    set --
    case $order in
        run | start)
            while IFS= read -r argument && [ -n "$argument" ]; do
                set -- "$@" "$argument"
            done
            ;;
    esac
    case $order in
        run)
            "$@" </dev/null >>"$log" 2>&1
            echo "exit $?"
            ;;
        start)
            "$@" </dev/null >>"$log" 2>&1 &
            pid=$!
            echo started
            ;;
        kill)
            kill_all
            echo killed
            ;;
        alive)
            if running; then echo yes; else echo no; fi
            ;;
    esac
done
