# Supervises one server and its directory. When standard input ends, this script ends the server and deletes the
# directory. Standard input also ends if the process that writes to it is killed.
# Arguments: the parent of the directory, the signal that ends the server.
# CLEANUP: the script to run before the directory is deleted.
# Standard input has one command per line. The arguments of run and start follow, one per line, then an empty line.

base=$1 signal=$2 cleanup=$CLEANUP pid=
unset CLEANUP

# Nobody may read the replies any more. SIGPIPE must not end the shell before it has ended the server.
trap : PIPE

running() {
    [ -n "$pid" ] || return 1
    # Reaps a server that has ended. A zombie would still count as running.
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

# Each process is stopped before its children are listed, so that it cannot start new ones in between.
kill_tree() {
    kill -s STOP "$1" 2>/dev/null
    killed="$killed $1"
    for child in $(children "$1" 2>/dev/null); do
        kill_tree "$child"
    done
    kill -s KILL "$1" 2>/dev/null
}

# Whether a process of $killed has not ended yet. A zombie (Z) has ended.
any_left() {
    for one in $killed; do
        case $(sed -n 's/^State:[[:space:]]*//p' "/proc/$one/status" 2>/dev/null) in
            '' | Z*) ;;
            *) return 0 ;;
        esac
    done
    return 1
}

kill_all() {
    running || return 0
    killed=
    kill_tree "$pid"
    wait "$pid" 2>/dev/null
    tries=0
    while any_left && [ $tries -lt 100 ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
    pid=
}

on_exit() {
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
    eval "$cleanup" >/dev/null 2>&1 </dev/null
    cd /
    # Children of a killed server may still write files while they end.
    tries=0
    until rm -rf "$dir" 2>/dev/null || [ $tries -ge 20 ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
}

dir=$(mktemp -d "$base/artifact-store-test-XXXXXX") || exit 1
trap on_exit EXIT
trap 'exit 0' INT TERM HUP
cd "$dir" || exit 1
log=$dir/log
: >"$log"
echo "$dir"

while IFS= read -r command_name; do
    set --
    case $command_name in
        run | start)
            while IFS= read -r argument && [ -n "$argument" ]; do
                set -- "$@" "$argument"
            done
            ;;
    esac
    case $command_name in
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
