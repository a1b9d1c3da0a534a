#!/usr/bin/env bash
# ./dev demo: a real web application built from a Dockerfile into layers, run, changed, committed and run again.
# Every line that starts with $ is a command you can type yourself. Anything unexpected ends the demo with status 1.
#   demo.sh BIN CACHE     BIN: folder with img and its links; CACHE: keeps the Debian base between runs
set -euo pipefail

BIN=$(readlink -f "$1")
mkdir -p "$2"
CACHE=$(readlink -f "$2")
SOURCE=$(readlink -f "$(dirname "${BASH_SOURCE[0]}")/../..")
WORK=$(mktemp -d -t img-demo-XXXXXX)
export IMG_ROOT=$WORK/store PATH=$BIN:$PATH
readonly BIN CACHE SOURCE WORK

cleanup() {
  local status=$?
  img ps -aq 2>/dev/null | xargs -r "$BIN/img" rm -f >/dev/null 2>&1 || true
  rm -rf "$WORK"
  [ "$status" = 0 ] || printf '\nThe demo FAILED (status %s).\n' "$status" >&2
}
trap cleanup EXIT

chapter() { printf '\n\033[1m%s\033[0m\n' "$*"; }
tell() { printf '%s\n' "$*"; }
show() {
  printf '$ %s\n' "$*"
  "$@"
}
fail() {
  printf 'FAILED: %s\n' "$*" >&2
  exit 1
}

# A Debian file system from Debian's own packages, made once.
debianBase() {
  local tar=$CACHE/debian-flask.tar
  if [ ! -f "$tar" ]; then
    tell "Making a Debian base with python3 and Flask from Debian's packages (once; it is kept in build/cache) ..."
    mmdebstrap --quiet --format=tar --variant=minbase --include=python3-flask bookworm "$tar.new"
    mv "$tar.new" "$tar"
  fi
  show imgimport "$tar" debian-flask
}

freePort() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

fetch() {
  local attempt
  for attempt in $(seq 100); do
    curl --silent --fail --noproxy '*' "http://$1/" && return
    sleep 0.1
  done
  imglogs web >&2 || true
  fail "no answer from $1 after $attempt attempts"
}

compareNamespaces() {
  local pid=$1 name
  printf '%-8s %-24s %-24s\n' namespace "this shell" "the container (pid $pid)"
  for name in mnt pid ipc uts cgroup net user; do
    printf '%-8s %-24s %-24s\n' "$name" "$(readlink "/proc/$$/ns/$name")" "$(readlink "/proc/$pid/ns/$name")"
  done
  [ "$(readlink "/proc/$$/ns/mnt")" != "$(readlink "/proc/$pid/ns/mnt")" ] || fail "the container shares our mount namespace"
  [ "$(readlink "/proc/$$/ns/pid")" != "$(readlink "/proc/$pid/ns/pid")" ] || fail "the container shares our pid namespace"
  [ "$(readlink "/proc/$$/ns/net")" != "$(readlink "/proc/$pid/ns/net")" ] || fail "the container shares our network"
  tell "(user is shared because we are root)"
}

buildTheApplication() {
  chapter "1. A base image, and an application built on it"
  debianBase
  show cat "$SOURCE/testdata/flask/Dockerfile"
  show imgbuild -t helloworld "$SOURCE/testdata/flask"
  tell "The same build again: nothing changed, nothing runs."
  show imgbuild -t helloworld "$SOURCE/testdata/flask"
  show img images
  show img history helloworld
}

runTheApplication() {
  chapter "2. The image, running, with a port"
  port=$(freePort)
  show imgrun -d -p "$port:80" --name web -e NAME=Layers helloworld
  printf '$ curl http://127.0.0.1:%s/\n' "$port"
  fetch "127.0.0.1:$port"
  fetch "127.0.0.1:$port" | grep -q 'Hello Layers!' || fail "the page does not greet Layers"
  id=$(img inspect --format '{{ .Id }}' web)
  fetch "127.0.0.1:$port" | grep -q "${id:0:12}" || fail "the page does not show the short id as its host name"
  address=$(img inspect --format '{{ .NetworkSettings.IPAddress }}' web)
  printf '$ curl http://%s/          # its own address on the bridge\n' "$address"
  fetch "$address:80"
  show img ps
  show img port web
  show img top web
  pid=$(img inspect --format '{{ .State.Pid }}' web)
  compareNamespaces "$pid"
}

# A second container inside the network of the first: what they call 127.0.0.1 is the same.
shareTheNetwork() {
  chapter "3. A second container in the first one's network, and a volume"
  local client='import urllib.request as u; print(u.urlopen("http://127.0.0.1:80/").read().decode())'
  show imgrun --rm --net container:web helloworld python3 -c "$client"
  mkdir "$WORK/data"
  show imgrun --rm --net none -v "$WORK/data:/data" helloworld sh -c 'hostname > /data/from-container'
  show cat "$WORK/data/from-container"
}

changeAndCommit() {
  chapter "4. A change in the running container becomes a layer"
  show imgexec web touch /app/test.txt
  show imgexec web sh -c 'echo "10.1.2.3 edited" >> /etc/hosts'
  show imgcommit web helloworld:v2
  show img images helloworld
  show img history helloworld:v2
  tell "The new layer's tar, from the store, which is an OCI image layout:"
  local layer
  layer=$(newestLayer)
  show tar -tvf "$layer"
  tar -tf "$layer" | grep -q 'app/test.txt$' || fail "the layer lacks app/test.txt"
  ! tar -tf "$layer" | grep -q 'etc/hosts' || fail "the runtime's /etc/hosts got into the layer"
  show imgrm -f web
}

# The last layer of helloworld:v2, found by reading the layout as any other tool would.
newestLayer() {
  python3 - "$IMG_ROOT" docker.io/library/helloworld:v2 <<'PYTHON'
import json, pathlib, sys
store, name = pathlib.Path(sys.argv[1]), sys.argv[2]
blob = lambda digest: store / "blobs" / digest.replace(":", "/")
index = json.loads((store / "index.json").read_text())
found = [d for d in index["manifests"] if d.get("annotations", {}).get("org.opencontainers.image.ref.name") == name]
print(blob(json.loads(blob(found[0]["digest"]).read_text())["layers"][-1]["digest"]))
PYTHON
}

runTheCommit() {
  chapter "5. The committed image, running"
  show imgrun --rm --net none helloworld:v2 ls -l /app
  imgrun --rm --net none helloworld:v2 test -e /app/test.txt || fail "v2 lacks /app/test.txt"
  ! imgrun --rm --net none helloworld test -e /app/test.txt || fail "the first image changed"
  show imgrun --rm --net none helloworld:v2 cat /etc/hosts
  ! imgrun --rm --net none helloworld:v2 grep -q edited /etc/hosts || fail "the /etc/hosts edit was committed"
  tell "v2 has the file, the first image has not, and the edit of /etc/hosts stayed in the container."
}

fromScratch() {
  chapter "6. An image from nothing: one static program and a file"
  cp -r "$SOURCE/testdata/scratch" "$WORK/scratch"
  cp /bin/busybox "$WORK/scratch/busybox"
  show cat "$WORK/scratch/Dockerfile"
  show imgbuild -t tiny "$WORK/scratch"
  show imgrun --rm --net none tiny
  show img images tiny
}

leaveNothing() {
  chapter "7. Nothing is left"
  [ -z "$(img ps -aq)" ] || fail "containers are left"
  ! grep -q "$WORK" /proc/self/mounts || fail "mounts are left"
  show imgrmi helloworld helloworld:v2 tiny
  tell "No container, no mount; the demo's store is removed now."
}

buildTheApplication
runTheApplication
shareTheNetwork
changeAndCommit
runTheCommit
fromScratch
leaveNothing
printf '\n\033[1mThe demo is complete: every check passed.\033[0m\n'
