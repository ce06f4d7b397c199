# Reads random 4 KiB blocks of a file, none twice, with several threads: python3 random-reads.py FILE READS THREADS. Prints reads per second.
import os, random, sys, threading, time

file, reads, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
blocks = random.Random(1).sample(range(os.stat(file).st_size // 4096), reads)


def work(mine):
    fd = os.open(file, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    for block in mine:
        if len(os.pread(fd, 4096, block * 4096)) != 4096:
            os._exit(1)
    os.close(fd)


workers = [threading.Thread(target=work, args=(blocks[i::threads],)) for i in range(threads)]
started = time.monotonic()
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
print(reads / (time.monotonic() - started))
