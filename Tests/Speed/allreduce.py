#!/usr/bin/env python3
"""Times `cox bench allreduce` beside gloo's all_reduce of f32 over loopback, in turn.

    $PYTHON Tests/Speed/allreduce.py --mib 1 16 64 256 --turns 3

Bus bandwidth as nccl-tests define it, 2 (n - 1) / n x bytes / seconds, of the median round. Ours
sums in the order of the tree, checks every frame, and sets its congestion control per socket. It is
measured as workers of one machine run, payloads lent from memory to memory (here between threads of
one process), and with everything over TCP (`--no-lending`). gloo has a process for each rank and is
measured twice: with the congestion control that the machine gives, and with ours made the machine's
meanwhile, which needs root. Beside four ranks of ours three are measured: they hold a tree of four
slices too.

Core-seconds are those of all ranks for each GB that all give to one another together. The bytes on
the wire, beside `cox plan`'s formula, are those of the loopback device in the whole run, with
headers and whatever else the machine sends to itself meanwhile.
"""
import argparse, contextlib, json, os, signal, socket, statistics, sys, tempfile, time

from support import cox, figure, last_object, need, ratios, spread, turns

OURS = "cubic"
# Sums of `cox bench allreduce` that are not timed.
WARM_UP = 2
# What new sockets of this machine get, and what other users may choose: the first changes both.
DEFAULT = "/proc/sys/net/ipv4/tcp_congestion_control"
ALLOWED = "/proc/sys/net/ipv4/tcp_allowed_congestion_control"
# What our bandwidth shall be, as multiples of gloo's; of three ranks, of that of four.
FOUND, SAME, THREE, CORES = 2.0, 1.5, 0.65, 0.6


def round_count(size):
    """Rounds that send enough to be told from the start of a program."""
    return max(10, min(500, (1 << 30) // size))


def sent_bytes(ranks, size):
    """4 E (n + 1) (N - 1) / N for each of N ranks, of which each holds n = 1 node if N <= 4."""
    return 2 * (ranks - 1) * size


def bus_bandwidth(ranks, size, seconds):
    return 2 * (ranks - 1) / ranks * size / seconds * 1e-9


def ours(ranks, size, *words):
    count = round_count(size)
    before = loopback_bytes()
    answer = last_object(cox(
        "bench", "allreduce", "--json", "--workers", ranks, "--bytes", size, "--rounds", count,
        "--congestion", OURS, *words))
    wire = loopback_bytes() - before
    return {
        "bandwidth": answer["busbw_GBps"], "cores": answer["core_seconds_per_GB"],
        "wire": wire / ((count + WARM_UP) * sent_bytes(ranks, size))}


def loopback_bytes():
    return int(read("/sys/class/net/lo/statistics/tx_bytes"))


def gloo(ranks, size, congestion):
    import torch.multiprocessing

    with tempfile.TemporaryDirectory(prefix="cox-speed-") as folder, default(congestion):
        torch.multiprocessing.spawn(gloo_rank, (ranks, size, congestion, folder), ranks)
        with open(os.path.join(folder, "answer")) as file:
            answer = json.load(file)
    sent = round_count(size) * sent_bytes(ranks, size)
    return {"bandwidth": bus_bandwidth(ranks, size, answer["seconds"]),
            "cores": answer["cores"] / sent * 1e9}


def gloo_rank(rank, ranks, size, congestion, folder):
    import torch
    import torch.distributed as group

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    group.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks)
    values = torch.ones(size // 4)
    group.all_reduce(values)
    assert values[0] == values[-1] == ranks
    values.zero_()  # Sums of sums would leave f32.
    assert congestions() == {congestion}, congestions()
    group.all_reduce(values)
    group.barrier()
    seconds, cores, last = [], time.process_time(), time.perf_counter()
    for _ in range(round_count(size)):
        group.all_reduce(values)
        now = time.perf_counter()
        seconds.append(now - last)
        last = now
    cores = torch.tensor([time.process_time() - cores])
    group.all_reduce(cores)
    if rank == 0:
        with open(os.path.join(folder, "answer"), "w") as file:
            json.dump({"seconds": statistics.median(seconds), "cores": cores.item()}, file)
    group.destroy_process_group()


def congestions():
    """What this process's TCP connections use."""
    found = set()
    for descriptor in os.listdir("/proc/self/fd"):
        path = f"/proc/self/fd/{descriptor}"
        if not (os.path.islink(path) and os.readlink(path).startswith("socket:")):
            continue
        with socket.socket(fileno=os.dup(int(descriptor))) as connection:
            if connection.family in (socket.AF_INET, socket.AF_INET6):
                name = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
                found.add(name.split(b"\0")[0].decode())
    return found


@contextlib.contextmanager
def default(congestion):
    """Has the machine give it to new sockets for a while. gloo opens its own and has no option,
    and a connection that is taken from bbr later keeps bbr's pacing."""
    before = {path: read(path) for path in (DEFAULT, ALLOWED)}
    try:
        if before[DEFAULT] != congestion:
            write(DEFAULT, congestion)
        yield
    finally:
        for path, text in before.items():
            if read(path) != text:
                write(path, text)


def read(path):
    with open(path) as file:
        return file.read().strip()


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def may_change_default():
    """Whether this user may have gloo measured under ours."""
    try:
        with default(OURS):
            return True
    except OSError as error:
        print(f"SKIPPED: gloo under {OURS}: {error.strerror}")
        return False


def values_of(answers, name):
    return [answer[name] for answer in answers]


def compare(ranks, size, machine, turn_count, has_same):
    ways = {"lent": (), "TCP": ("--no-lending",)}
    sides = {"found": lambda: gloo(ranks, size, machine)}
    if has_same:
        sides["same"] = lambda: gloo(ranks, size, OURS)
    for way, words in ways.items():
        sides[way] = lambda words=words: ours(ranks, size, *words)
        if ranks == 4:
            sides[f"3 {way}"] = lambda words=words: ours(3, size, *words)
    found = turns(turn_count, **sides)
    for way in ways:
        mine = values_of(found[way], "bandwidth")
        row = f"{ranks:5} {size >> 20:4} {way:6} {spread(mine):>22}"
        for name in ("found", "same"):
            if name not in found:
                row += f" {'':>22} {'skipped':>22}"
                continue
            theirs = values_of(found[name], "bandwidth")
            row += f" {spread(theirs):>22} {spread(ratios(mine, theirs)):>22}"
        print(row + f" {spread(values_of(found[way], 'cores')):>22}"
              f" {figure(statistics.median(values_of(found['found'], 'cores'))):>6}"
              f" {statistics.median(values_of(found[way], 'wire')):>8.4f}", flush=True)
        if ranks == 4:
            three = found[f"3 {way}"]
            bandwidths = values_of(three, "bandwidth")
            print(f"{3:5} {size >> 20:4} {way:6} {spread(bandwidths):>22}   "
                  f"{spread(ratios(bandwidths, mine))} of the 4 ranks beside it; "
                  f"{spread(values_of(three, 'cores'))} core-s/GB; bytes sent, of the formula's: "
                  f"{statistics.median(values_of(three, 'wire')):.4f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4], choices=[2, 4])
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    (torch,) = need("torch")
    # Ended from outside it puts back what it changed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    has_same = may_change_default()
    machine = read(DEFAULT)
    print(f"PyTorch {torch.__version__}; bus bandwidth in GB/s; median (least to most) of "
          f"{arguments.turns} turns; ours under {OURS}\nwanted: {FOUND} x gloo under the machine's "
          f"{machine}, {SAME} x gloo under {OURS}, at most {CORES} core-s/GB, "
          f"3 ranks {THREE} of 4")
    print(f"{'ranks':>5} {'MiB':>4} {'way':6} {'ours':>22} {'gloo, ' + machine:>22} {'ratio':>22}"
          f" {'gloo, ' + OURS:>22} {'ratio':>22} {'ours, core-s/GB':>22} {'gloo':>6}"
          f" {'sent':>8}")
    for ranks in arguments.ranks:
        for mib in arguments.mib:
            compare(ranks, mib << 20, machine, arguments.turns, has_same)


if __name__ == "__main__":
    main()
