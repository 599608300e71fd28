"""A FUSE file system that passes calls through to a directory.

Like mounts of object stores, this file system does not support RENAME_NOREPLACE.

usage: passthrough.py SOURCE MOUNT LINK FSYNCDIR

LINK is the error number that creating a hard link returns. FSYNCDIR is the error number that syncing a directory
returns. 0 means that the operation works.
"""

import os
import sys

from fusepy import FUSE, FuseOSError, Operations


class Passthrough(Operations):
    def __init__(self, source, link, fsyncdir):
        self.source, self.link_error, self.fsyncdir_error = source, link, fsyncdir

    def source_path(self, path):
        return self.source + path

    def getattr(self, path, fh=None):
        try:
            stat = os.lstat(self.source_path(path))
        except OSError as error:
            raise FuseOSError(error.errno)
        return {name: getattr(stat, name) for name in dir(stat) if name.startswith("st_") and name[-2:] != "ns"}

    def readdir(self, path, fh):
        return [".", "..", *os.listdir(self.source_path(path))]

    def mkdir(self, path, mode):
        os.mkdir(self.source_path(path), mode)

    def rmdir(self, path):
        os.rmdir(self.source_path(path))

    def unlink(self, path):
        os.unlink(self.source_path(path))

    def rename(self, old, new):
        os.rename(self.source_path(old), self.source_path(new))

    def link(self, new, old):
        if self.link_error:
            raise FuseOSError(self.link_error)
        os.link(self.source_path(old), self.source_path(new))

    def create(self, path, mode, fi=None):
        return os.open(self.source_path(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def open(self, path, flags):
        return os.open(self.source_path(path), flags & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR))

    def read(self, path, size, offset, fh):
        return os.pread(fh, size, offset)

    def write(self, path, data, offset, fh):
        return os.pwrite(fh, data, offset)

    def release(self, path, fh):
        os.close(fh)

    def fsync(self, path, datasync, fh):
        os.fsync(fh)

    def fsyncdir(self, path, datasync, fh):
        if self.fsyncdir_error:
            raise FuseOSError(self.fsyncdir_error)
        return 0


source, mount, link, fsyncdir = sys.argv[1:]
FUSE(Passthrough(source, int(link), int(fsyncdir)), mount, foreground=True, nothreads=True, use_ino=True)
