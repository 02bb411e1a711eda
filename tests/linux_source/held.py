# A process whose memory lock is held for as long as this program wants, as by a network file system that does not answer.
#
# It maps a page of a file, changes it, and maps something else over it: the kernel then writes the page back with the
# lock (mmap_lock) held for writing, fuse_vma_close of fs/fuse/file.c. The file is on a file system of ours, which does
# not answer that write. Prints the process's id once it waits there; lets go when its input ends.
import ctypes, mmap, os, struct, sys, threading

folder = sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)
device = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
if libc.mount(b"held", folder.encode(), b"fuse", 0, options) != 0:
    sys.exit(f"cannot mount: {os.strerror(ctypes.get_errno())}")

victim = os.fork()
if victim == 0:
    os.close(device)
    libc.prctl(1, 9)  # PR_SET_PDEATHSIG: it must not outlive a test that fails
    file = os.open(folder + "/file", os.O_RDWR)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    both = mmap.PROT_READ | mmap.PROT_WRITE
    page = libc.mmap(None, 4096, both, mmap.MAP_SHARED, file, 0)
    ctypes.memset(page, 1, 1)
    libc.mmap(page, 4096, both, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x10, -1, 0)  # MAP_FIXED
    threading.Event().wait()

LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, INIT, BATCH_FORGET = 1, 2, 3, 4, 14, 15, 16, 26, 42


def attributes(node):
    mode = 0o040755 if node == 1 else 0o100644
    return struct.pack("<6Q10I", node, 4096, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def serve():
    while True:
        request = os.read(device, 1 << 20)
        _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
        error, body = 0, b""
        if opcode in (FORGET, BATCH_FORGET):
            continue
        elif opcode == WRITE:
            print(victim, flush=True)  # and no answer
            continue
        elif opcode == INIT:
            body = struct.pack("<4I2H2I2H8I", 7, 31, 0, 0, 1, 1, 65536, 1, 16, 0, *[0] * 8)
        elif opcode == LOOKUP:
            body = struct.pack("<4Q2I", 2, 1, 3600, 3600, 0, 0) + attributes(2)
        elif opcode in (GETATTR, SETATTR):
            body = struct.pack("<Q2I", 3600, 0, 0) + attributes(node)
        elif opcode == OPEN:
            body = struct.pack("<Q2I", 1, 0, 0)
        elif opcode == READ:
            body = bytes(4096)
        else:
            error = -38  # ENOSYS
        os.write(device, struct.pack("<IiQ", 16 + len(body), error, unique) + body)


threading.Thread(target=serve, daemon=True).start()
sys.stdin.read()
# The file system goes, the write fails, the lock is free.
os.kill(victim, 9)
os._exit(0)
