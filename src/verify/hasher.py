# The far end's hasher where Python is the best that is there, and what else it does since it has the files open anyway. What each
# question is for, and how it is asked and answered, is told by the module of `verify` that is named above its function.
#
# `verify::ladder` sends this file without its comments as an argument of `python3 -I -S -c`, so that nothing is installed. It needs
# Python 3.5 and no more than the standard library. Arguments: three lines for the introduction. Questions come on standard input,
# each with a NUL behind it, and are answered in their order. What fails is answered with a hash of dashes, and who asked finds
# another way: hence the wide `except`s. A status other than 0 lets the shell try the next hasher, so there is none once it has begun.

import atexit
import hashlib
import os
import sys

# Bytes: `verify::gmac::BLOCK`, and what is read at once.
BLOCK = 85 << 10
PIECE = 3 * BLOCK
# Bytes of answers that are held back while there are more questions at hand.
HELD = 1 << 20

# In place of a hash, as `verify::ladder::Line`: unknown; a directory (`verify::below`); done (`verify::copied`).
UNKNOWN = b"-" * 64 + b"  "
DIRECTORY = b"=" * 64 + b"  "
DONE = b"0" * 64 + b"  "

buffer = bytearray(PIECE)
view = memoryview(buffer)
sha256 = hashlib.sha256
readv = os.readv


class Opened:
    # No wait for a pipe's other end.
    def __init__(self, path):
        self.file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def __enter__(self):
        return self.file

    def __exit__(self, *_):
        os.close(self.file)


def put(data):
    while data:
        data = data[os.write(1, data):]


# A function that makes the tag of a block in the buffer, of its number, offset and length (`verify::gmac`).
def gmac(key):
    import ctypes
    import _hashlib

    for library in [getattr(_hashlib, "__file__", None), "libcrypto.so.3", "libcrypto.so.1.1"]:
        try:
            crypto = ctypes.CDLL(library)
            new, cipher = crypto.EVP_CIPHER_CTX_new, crypto.EVP_aes_128_gcm
            break
        except (OSError, AttributeError):
            pass
    pointer = ctypes.c_void_p
    new.restype = cipher.restype = pointer
    context, length, out = pointer(new()), ctypes.c_int(), ctypes.create_string_buffer(16)
    start = ctypes.addressof((ctypes.c_char * PIECE).from_buffer(buffer))
    init, update = crypto.EVP_EncryptInit_ex, crypto.EVP_EncryptUpdate
    final, control = crypto.EVP_EncryptFinal_ex, crypto.EVP_CIPHER_CTX_ctrl
    get_tag = 16

    def tag(number, at, size):
        done = init(context, None, None, None, number.to_bytes(12, "big"))
        done += update(context, None, ctypes.byref(length), pointer(start + at), size)
        done += final(context, out, ctypes.byref(length))
        done += control(context, get_tag, 16, out)
        if done != 4:
            raise OSError
        return out.raw

    if init(context, pointer(cipher()), None, key, None) != 1:
        raise OSError
    return tag


# Fills the buffer from a file, but for the bytes that it holds already; how many it holds then.
def fill(file, held):
    count = 1
    while count and held < PIECE:
        count = readv(file, [view[held:]])
        held += count
    return held


# The hash of what comes next of a file, in so many buffers at most (-1: all of it), with the two blanks behind it; and its length.
def hashed(file, buffers):
    # First no more than a small file needs.
    held = readv(file, [view])
    if held <= BLOCK:
        more = held and readv(file, [view[held:]])
        held += more
        if not more:
            return sha256(view[:held]).hexdigest().encode() + b"  ", held
    held = length = fill(file, held)
    digest, block = sha256(), 0
    while True:
        if tag and (block or held > BLOCK):
            for at in range(0, held, BLOCK):
                digest.update(tag(block, at, min(BLOCK, held - at)))
                block += 1
        else:
            digest.update(view[:held])
        buffers -= 1
        if buffers == 0 or held < PIECE:
            return digest.hexdigest().encode() + b"  ", length
        held = fill(file, 0)
        length += held


# A name, and nothing else: the file's hash.
def whole(question, answers):
    line, length = UNKNOWN, 0
    try:
        with Opened(question) as file:
            line, length = hashed(file, -1)
    except Exception:
        pass
    answers += line, question, b"\n"
    return length


# `verify::parts`
def parts(question, answers):
    length = 0
    try:
        first, path = question[1:].split(b" ", 1)
        with Opened(path) as file:
            os.lseek(file, int(first) * 4 * PIECE, 0)
            for _ in range(64):
                line, count = hashed(file, 4)
                if not count:
                    break
                answers += line, b"\n"
                length += count
    except Exception:
        pass
    answers += UNKNOWN, question, b"\n"
    return length


# `verify::blocks`
def blocks(question, answers):
    try:
        from zlib import adler32

        numbers, path = question[1:].split(b" ", 1)
        size, at = map(int, numbers.split(b"."))
        weak = question[:1] == b"w"
        with Opened(path) as file:
            os.lseek(file, at, 0)
            for _ in range(256):
                held = fill(file, 0)
                for at in range(0, held, size):
                    block = view[at:min(at + size, held)]
                    strong = tag(0, at, len(block)) + bytes(12) if tag else sha256(block).digest()[4:]
                    sums = (adler32(block) if weak else 0).to_bytes(4, "big") + strong
                    answers += sums.hex().encode(), b"  \n"
                if held < PIECE:
                    break
    except Exception:
        pass
    answers += UNKNOWN, question, b"\n"
    return HELD


# What is told with bytes behind it (`verify::content`).
def told(line, size, mtime, data):
    return line[:65] + ("<%d %d %d\n" % (size, mtime, len(data))).encode() + data + b"\n"


# `verify::content`
def content(question, answers):
    answer, length = UNKNOWN + question + b"\n", 0
    try:
        with Opened(question[2:]) as file:
            digest, length = hashed(file, -1)
            if length <= BLOCK:
                is_now = os.fstat(file)
                answer = told(digest, is_now.st_size, is_now[8], view[:length])
    except Exception:
        pass
    answers.append(answer)
    return length


# `verify::listing`
def listing(question, answers):
    answer = UNKNOWN + question + b"\n"
    try:
        path, entries, length = question[2:] + b"/", [], 0
        for entry in os.scandir(path):
            try:
                is_now = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            # Python's (mode, inode, device, links, uid, gid, size, atime, mtime, ctime), SFTP's times without a sign.
            mode, _, _, _, uid, gid, size, atime, mtime, _ = is_now
            times = (atime & 0xFFFFFFFF, mtime & 0xFFFFFFFF)
            line = ("%d %d %d %d %d %d " % (mode, uid, gid, *times, size)).encode() + entry.name + b"\0"
            length += len(line)
            entries.append(line)
            if mode >> 12 == 0o12:
                entries.append(os.readlink(path + entry.name) + b"\0")
            if length > BLOCK:
                break
        data = b"".join(entries)
        if len(data) <= BLOCK:
            answer = told(sha256(data).hexdigest().encode() + b"  ", 0, 0, data)
    except (OSError, AttributeError):
        pass
    answers.append(answer)
    return len(answer)


# `verify::below`, with its ENTRIES, SEEN and MOST.
def below(question, answers):
    try:
        with open("/proc/self/mountinfo", "rb") as lines:
            mounts = {line.split()[4] for line in lines}
        top = question[2:] + b"/"
        found, seen, real = [b""], 0, os.path.realpath(top)
        for directory in found:
            count = 0
            try:
                for entry in os.scandir(top + directory):
                    count += 1
                    if count > 1000:
                        break
                    is_mount = os.path.join(real, directory + entry.name) in mounts
                    if not is_mount and entry.is_dir(follow_symlinks=False) and b"\n" not in entry.name:
                        found.append(directory + entry.name + b"/")
            except (OSError, AttributeError):
                continue
            if directory and count <= 1000:
                answers += DIRECTORY, directory[:-1], b"\n"
            seen += count
            if seen > 50000 or len(found) > 4096:
                break
    except Exception:
        pass
    answers += UNKNOWN, question, b"\n"
    return 0


# `verify::commit`
def commit(question, answers):
    path, line, length = question, UNKNOWN, 0
    try:
        *words, paths = question[1:].split(b" ", 6)
        path, name = paths.rsplit(b"//", 1)
        wanted, mode, uid, gid, atime, mtime = words[0], *map(int, words[1:])
        with Opened(path) as file:
            line, length = hashed(file, -1)
            if line[:64] == wanted:
                if uid != -1:
                    os.fchown(file, uid, gid)
                if mode != -1:
                    os.fchmod(file, mode)
                if mtime != -1:
                    os.utime(file, (atime, mtime))
                os.rename(path, path[:path.rindex(b"/") + 1] + name)
                line = wanted + b" +"
    except Exception:
        pass
    answers += line, path, b"\n"
    return length


# `verify::copied`
def copied(question, answers):
    line = UNKNOWN
    try:
        *numbers, paths = question[1:].split(b" ", 4)
        source, at, left, end = map(int, numbers)
        with Opened(paths[:end]) as old:
            new = os.open(paths[end:], os.O_WRONLY | os.O_NOFOLLOW)
            try:
                while left:
                    try:
                        count = os.copy_file_range(old, new, left, source, at)
                    except (OSError, AttributeError):
                        os.lseek(new, at, 0)
                        count = os.sendfile(new, old, source, left)
                    if count < 1:
                        raise OSError
                    source, at, left = source + count, at + count, left - count
            finally:
                os.close(new)
        line = DONE
    except Exception:
        pass
    answers += line, question, b"\n"
    return 0


ASKED = {b"b": parts, b"v": blocks, b"w": blocks, b"c": content, b"l": listing, b"d": below, b"e": commit, b"p": copied}


def serve():
    pending = b""
    while True:
        read = os.read(0, 1 << 16)
        if not read:
            break
        *questions, pending = (pending + read).split(b"\0")
        answers, weight = [], 0
        for question in questions:
            weight += ASKED.get(question[:1], whole)(question, answers) + 4096
            if weight > HELD:
                put(b"".join(answers))
                answers, weight = [], 0
        put(b"".join(answers))


# All that takes time is done before we are spoken to. What should be there and is not ends us with a status that is not 0.
if not sha256().hexdigest().startswith("e3b0c442"):
    sys.exit(1)
try:
    tag = gmac(bytes(16))
    if not tag(0, 0, BLOCK).hex().startswith("b7d1b2dc"):
        tag = None
except Exception:
    tag = None

# `verify::ladder::knock`: a word, and the key.
knock = b""
while not knock.endswith(b"\n"):
    byte = os.read(0, 1)
    if not byte:
        sys.exit(1)
    knock += byte
if tag:
    tag = gmac(bytes.fromhex(knock.split()[1].decode()))
atexit.register(os._exit, 0)
put(os.fsencode("\n".join(["hopsync-far 1", *sys.argv[1:4], "hasher gmac" if tag else "hasher python3", ""])))
serve()
