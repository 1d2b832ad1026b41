# What the scripts here share: a server to talk to, and a Python of their own. Sourced, with `set -u`.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${LAMINAR_CLIENTS:-$root/target/clients}
mkdir -p "$cache"
scratch=$(mktemp -d)
server=""
url=""

end_server() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null
        wait "$server" 2>/dev/null
    fi
    rm -rf "$scratch"
}
trap end_server EXIT

# find_server URL FLAGS...: the server at that URL, or, if it is empty, one that is built and started with these flags.
find_server() {
    url=$1
    shift
    [ -z "$url" ] || return 0
    (cd "$root" && cargo build --quiet --release) || exit 1
    "${CARGO_TARGET_DIR:-$root/target}/release/laminar" serve --port 0 "$@" 2>"$scratch/log" &
    server=$!
    for _ in $(seq 300); do
        url=$(sed -n 's/^Serving .* on \(http:[^ ]*\).*/\1/p' "$scratch/log")
        [ -z "$url" ] || return 0
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    echo "the server did not start:" >&2
    cat "$scratch/log" >&2
    exit 1
}

# python_with NAME PIP-ARGUMENTS...: sets `python` to an interpreter that has these packages.
python_with() {
    python=$cache/$1/bin/python
    if [ ! -x "$python" ]; then
        python3 -m venv "$cache/$1" || exit 1
    fi
    shift
    "$python" -m pip install --quiet --disable-pip-version-check "$@" || exit 1
}
