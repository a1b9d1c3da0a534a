"""Reads a whole file tree and says where two of them differ: path, field, both values."""
import fnmatch
import hashlib
import os
import stat

FIELDS = ("type", "mode", "uid", "gid", "size", "sha256", "link", "device", "xattrs", "same_file")


def _kind(mode):
    for test, name in ((stat.S_ISDIR, "directory"), (stat.S_ISREG, "file"), (stat.S_ISLNK, "symlink"),
                       (stat.S_ISCHR, "char"), (stat.S_ISBLK, "block"), (stat.S_ISFIFO, "fifo"), (stat.S_ISSOCK, "socket")):
        if test(mode):
            return name
    return oct(mode)


def _digest(path):
    state = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            state.update(block)
    return state.hexdigest()


def _data(path, size):
    """Bytes that are no hole. Not st_blocks: what that counts is up to the file system."""
    if size < 1 << 20:
        return size
    total = end = 0
    with open(path, "rb") as file:
        while end < size:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError:  # ENXIO: only holes are left
                break
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            total += end - start
    return total


def _xattrs(path):
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return {}
    return {name: os.getxattr(path, name, follow_symlinks=False).hex() for name in sorted(names)
            if not name.startswith(("trusted.overlay.", "user.overlay.", "user.rootlesscontainers"))}


def _entry(path):
    info = os.lstat(path)
    kind = _kind(info.st_mode)
    return {
        "type": kind,
        "mode": None if kind == "symlink" else f"{stat.S_IMODE(info.st_mode):04o}",
        "uid": info.st_uid,
        "gid": info.st_gid,
        "size": info.st_size if kind == "file" else None,
        "sha256": _digest(path) if kind == "file" else None,
        "link": os.fsencode(os.readlink(path)) if kind == "symlink" else None,
        "device": f"{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}" if kind in ("char", "block") else None,
        "xattrs": _xattrs(path),
        "mtime": int(info.st_mtime),
        "data": _data(path, info.st_size) if kind == "file" else None,
        "inode": (info.st_dev, info.st_ino) if kind != "directory" and info.st_nlink > 1 else None,
    }


def scan(root, one_filesystem=False):
    """{path as bytes, starting with /: fields}. Other file systems mounted inside are listed but not entered."""
    # With a slash at its end, so that the root may be a link itself (/proc/PID/root).
    root = os.fsencode(root).rstrip(b"/") + b"/"
    device = os.lstat(root).st_dev
    tree, pending = {}, [b""]
    while pending:
        name = pending.pop()
        path = root + name
        tree[b"/" + name] = entry = _entry(path)
        if entry["type"] == "directory" and not (one_filesystem and os.lstat(path).st_dev != device):
            pending.extend(os.path.join(name, child) for child in os.listdir(path))
    groups = {}
    for path, entry in tree.items():
        if entry["inode"]:
            groups.setdefault(entry.pop("inode"), []).append(path)
        else:
            entry.pop("inode")
    for paths in groups.values():
        for path in paths:
            tree[path]["same_file"] = tuple(sorted(paths)) if len(paths) > 1 else None
    return tree


def show(path):
    return path.decode("utf-8", "backslashreplace")


def differences(ours, theirs, ours_name="img", theirs_name="peer", ignore=(), skip=None, old=None, fields=FIELDS):
    """Lines, one per difference.

    ignore: patterns of paths not compared at all; skip: {pattern: fields not compared there};
    old: compare the times that the peer has below this moment (copied, not new, times).
    """
    lines = []
    for path in sorted(set(ours) | set(theirs)):
        name = show(path)
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in ignore):
            continue
        if path not in ours or path not in theirs:
            side, entry = (theirs_name, theirs[path]) if path in theirs else (ours_name, ours[path])
            lines.append(f"{name}: only in {side} ({entry['type']} {entry['mode']} {entry['uid']}:{entry['gid']} "
                         f"size {entry['size']})")
            continue
        skipped = {f for pattern, names in (skip or {}).items() if fnmatch.fnmatchcase(name, pattern) for f in names}
        a, b = ours[path], theirs[path]
        names = list(fields)
        if old is not None and b["mtime"] < old:
            names.append("mtime")
        for field in names:
            if field not in skipped and a.get(field) != b.get(field):
                lines.append(f"{name}: {field}: {ours_name} {a.get(field)!r}, {theirs_name} {b.get(field)!r}")
    return lines
