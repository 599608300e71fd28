"""A folder as a FUSE file system without RENAME_NOREPLACE, as mounts of object stores are.

usage: folder.py FOLDER MOUNT LINK FSYNCDIR: what link and the fsync of a directory answer, as numbers of errors; 0: they work.
"""

import os
import sys

from fusepy import FUSE, FuseOSError, Operations


class Folder(Operations):
    def __init__(self, folder, link, fsyncdir):
        self.folder, self.link_error, self.fsyncdir_error = folder, link, fsyncdir

    def at(self, path):
        return self.folder + path

    def getattr(self, path, fh=None):
        try:
            found = os.lstat(self.at(path))
        except OSError as error:
            raise FuseOSError(error.errno)
        return {name: getattr(found, name) for name in dir(found) if name.startswith("st_") and name[-2:] != "ns"}

    def readdir(self, path, fh):
        return [".", "..", *os.listdir(self.at(path))]

    def mkdir(self, path, mode):
        os.mkdir(self.at(path), mode)

    def rmdir(self, path):
        os.rmdir(self.at(path))

    def unlink(self, path):
        os.unlink(self.at(path))

    def rename(self, old, new):
        os.rename(self.at(old), self.at(new))

    def link(self, new, old):
        if self.link_error:
            raise FuseOSError(self.link_error)
        os.link(self.at(old), self.at(new))

    def create(self, path, mode, fi=None):
        return os.open(self.at(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def open(self, path, flags):
        return os.open(self.at(path), flags & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR))

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


folder, mount, link, fsyncdir = sys.argv[1:]
FUSE(Folder(folder, int(link), int(fsyncdir)), mount, foreground=True, nothreads=True, use_ino=True)
