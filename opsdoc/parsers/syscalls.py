"""System calls: their names by number, the one that a sample was in, and `/proc/PID/task/TID/syscall` and `stack`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from opsdoc.parsers.perf_script import KERNEL, Place

PAGE_FAULT = "page fault"
INTERRUPT = "interrupt"

# ── names by number ──────────────────────────────────────────────────────────────────────────────

# From the kernel's asm/unistd_64.h and asm-generic/unistd.h, in order from 0; `-` is a number without a call. From
# 424 on the numbers of all architectures are the same.
_X86_64 = """
read write open close stat fstat lstat poll lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask rt_sigreturn
ioctl pread64 pwrite64 readv writev access pipe select sched_yield mremap msync mincore madvise shmget shmat shmctl
dup dup2 pause nanosleep getitimer alarm setitimer getpid sendfile socket connect accept sendto recvfrom sendmsg
recvmsg shutdown bind listen getsockname getpeername socketpair setsockopt getsockopt clone fork vfork execve exit
wait4 kill uname semget semop semctl shmdt msgget msgsnd msgrcv msgctl fcntl flock fsync fdatasync truncate ftruncate
getdents getcwd chdir fchdir rename mkdir rmdir creat link unlink symlink readlink chmod fchmod chown fchown lchown
umask gettimeofday getrlimit getrusage sysinfo times ptrace getuid syslog getgid setuid setgid geteuid getegid setpgid
getppid getpgrp setsid setreuid setregid getgroups setgroups setresuid getresuid setresgid getresgid getpgid setfsuid
setfsgid getsid capget capset rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_sigsuspend sigaltstack utime mknod
uselib personality ustat statfs fstatfs sysfs getpriority setpriority sched_setparam sched_getparam sched_setscheduler
sched_getscheduler sched_get_priority_max sched_get_priority_min sched_rr_get_interval mlock munlock mlockall
munlockall vhangup modify_ldt pivot_root _sysctl prctl arch_prctl adjtimex setrlimit chroot sync acct settimeofday
mount umount2 swapon swapoff reboot sethostname setdomainname iopl ioperm create_module init_module delete_module
get_kernel_syms query_module quotactl nfsservctl getpmsg putpmsg afs_syscall tuxcall security gettid readahead
setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr removexattr lremovexattr
fremovexattr tkill time futex sched_setaffinity sched_getaffinity set_thread_area io_setup io_destroy io_getevents
io_submit io_cancel get_thread_area lookup_dcookie epoll_create epoll_ctl_old epoll_wait_old remap_file_pages
getdents64 set_tid_address restart_syscall semtimedop fadvise64 timer_create timer_settime timer_gettime
timer_getoverrun timer_delete clock_settime clock_gettime clock_getres clock_nanosleep exit_group epoll_wait epoll_ctl
tgkill utimes vserver mbind set_mempolicy get_mempolicy mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify
mq_getsetattr kexec_load waitid add_key request_key keyctl ioprio_set ioprio_get inotify_init inotify_add_watch
inotify_rm_watch migrate_pages openat mkdirat mknodat fchownat futimesat newfstatat unlinkat renameat linkat symlinkat
readlinkat fchmodat faccessat pselect6 ppoll unshare set_robust_list get_robust_list splice tee sync_file_range
vmsplice move_pages utimensat epoll_pwait signalfd timerfd_create eventfd fallocate timerfd_settime timerfd_gettime
accept4 signalfd4 eventfd2 epoll_create1 dup3 pipe2 inotify_init1 preadv pwritev rt_tgsigqueueinfo perf_event_open
recvmmsg fanotify_init fanotify_mark prlimit64 name_to_handle_at open_by_handle_at clock_adjtime syncfs sendmmsg setns
getcpu process_vm_readv process_vm_writev kcmp finit_module sched_setattr sched_getattr renameat2 seccomp getrandom
memfd_create kexec_file_load bpf execveat userfaultfd membarrier mlock2 copy_file_range preadv2 pwritev2 pkey_mprotect
pkey_alloc pkey_free statx io_pgetevents rseq
"""
_GENERIC = """
io_setup io_destroy io_submit io_cancel io_getevents setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr
listxattr llistxattr flistxattr removexattr lremovexattr fremovexattr getcwd lookup_dcookie eventfd2 epoll_create1
epoll_ctl epoll_pwait dup dup3 fcntl inotify_init1 inotify_add_watch inotify_rm_watch ioctl ioprio_set ioprio_get
flock mknodat mkdirat unlinkat symlinkat linkat renameat umount2 mount pivot_root nfsservctl statfs fstatfs truncate
ftruncate fallocate faccessat chdir fchdir chroot fchmod fchmodat fchownat fchown openat close vhangup pipe2 quotactl
getdents64 lseek read write readv writev pread64 pwrite64 preadv pwritev sendfile pselect6 ppoll signalfd4 vmsplice
splice tee readlinkat newfstatat fstat sync fsync fdatasync sync_file_range timerfd_create timerfd_settime
timerfd_gettime utimensat acct capget capset personality exit exit_group waitid set_tid_address unshare futex
set_robust_list get_robust_list nanosleep getitimer setitimer kexec_load init_module delete_module timer_create
timer_gettime timer_getoverrun timer_settime timer_delete clock_settime clock_gettime clock_getres clock_nanosleep
syslog ptrace sched_setparam sched_setscheduler sched_getscheduler sched_getparam sched_setaffinity sched_getaffinity
sched_yield sched_get_priority_max sched_get_priority_min sched_rr_get_interval restart_syscall kill tkill tgkill
sigaltstack rt_sigsuspend rt_sigaction rt_sigprocmask rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_sigreturn
setpriority getpriority reboot setregid setgid setreuid setuid setresuid getresuid setresgid getresgid setfsuid
setfsgid times setpgid getpgid getsid setsid getgroups setgroups uname sethostname setdomainname getrlimit setrlimit
getrusage umask prctl getcpu gettimeofday settimeofday adjtimex getpid getppid getuid geteuid getgid getegid gettid
sysinfo mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr msgget msgctl msgrcv msgsnd semget
semctl semtimedop semop shmget shmctl shmat shmdt socket socketpair bind listen accept connect getsockname getpeername
sendto recvfrom setsockopt getsockopt shutdown sendmsg recvmsg readahead brk munmap mremap add_key request_key keyctl
clone execve mmap fadvise64 swapon swapoff mprotect msync mlock munlock mlockall munlockall mincore madvise
remap_file_pages mbind get_mempolicy set_mempolicy migrate_pages move_pages rt_tgsigqueueinfo perf_event_open accept4
recvmmsg - - - - - - - - - - - - - - - - wait4 prlimit64 fanotify_init fanotify_mark
name_to_handle_at open_by_handle_at clock_adjtime syncfs setns sendmmsg process_vm_readv process_vm_writev kcmp
finit_module sched_setattr sched_getattr renameat2 seccomp getrandom memfd_create bpf execveat userfaultfd membarrier
mlock2 copy_file_range preadv2 pwritev2 pkey_mprotect pkey_alloc pkey_free statx io_pgetevents rseq kexec_file_load
"""
_FROM_424 = """
pidfd_send_signal io_uring_setup io_uring_enter io_uring_register open_tree move_mount fsopen fsconfig fsmount fspick
pidfd_open clone3 close_range openat2 pidfd_getfd faccessat2 process_madvise epoll_pwait2 mount_setattr quotactl_fd
landlock_create_ruleset landlock_add_rule landlock_restrict_self memfd_secret process_mrelease futex_waitv
set_mempolicy_home_node cachestat fchmodat2 map_shadow_stack futex_wake futex_wait futex_requeue statmount listmount
lsm_get_self_attr lsm_set_self_attr lsm_list_modules mseal setxattrat getxattrat listxattrat removexattrat
open_tree_attr
"""


def _numbered(first: str) -> Mapping[int, str]:
    named = {number: name for number, name in enumerate(first.split()) if name != "-"}
    return named | dict(enumerate(_FROM_424.split(), 424))


_BY_NUMBER: Mapping[str, Mapping[int, str]] = {"x86_64": _numbered(_X86_64), "aarch64": _numbered(_GENERIC)}
_NAMES = frozenset(name for names in _BY_NUMBER.values() for name in names.values())


def name_of(number: int, machine: str) -> str | None:
    """The name of a system call, by its number on a machine as `uname -m` calls it; None where it is not known."""
    return _BY_NUMBER.get(machine, {}).get(number)


# ── by stack ─────────────────────────────────────────────────────────────────────────────────────

# The kernel's functions, from the surest to the vaguest: the entry itself, what it is inlined into, what it calls.
_ENTRIES = (
    re.compile(r"__(?:x64|ia32|arm64|se|do)_(?:compat_)?sys_(\w+?)(?:\.\w+)*$"),
    re.compile(r"(?:_{2,3}|k|do_)sys_(\w+?)(?:\.\w+)*$"),
    re.compile(r"(?:do|vfs)_(\w+?)(?:\.\w+)*$"),
)
_FAULT = re.compile(
    r"asm_exc_page_fault|exc_page_fault|do_user_addr_fault|handle_mm_fault|do_page_fault|do_mem_abort|el0_[di]a$"
)
_INTERRUPT = re.compile(
    r"asm_sysvec_|asm_common_interrupt|common_interrupt$|el[01]t?_(?:64_)?irq|gic_handle_irq|__irq_exit_rcu|irq_exit_rcu"
    r"|__do_softirq|handle_softirqs"
)
_LIBC = re.compile(r"/(?:libc|libpthread|ld-linux[^/]*|ld-musl[^/]*|ld)[-.][^/]*so|\[vdso\]$")
_OF_GO = re.compile(r"(?:internal/runtime/|runtime/internal/)?syscall\.(?:Raw)?[sS]yscall(?:6|NoError)?(?:\.abi0)?$")


def syscall_of(frames: Sequence[Place]) -> str | None:
    """The system call that a stack (innermost first) was in, or `page fault` or `interrupt`; None if it was in none.

    The kernel's own frames decide. Where they end before the entry, as on the way in and out, it is the libc's function
    that called. A page fault within a call belongs to that call.
    """
    inside = [frame.symbol for frame in frames if frame.kernel]
    if not inside:
        return None
    # A sample in an interrupt pays for the interrupt, whatever call it came in.
    if any(_INTERRUPT.match(symbol) for symbol in inside):
        return INTERRUPT
    for entry in _ENTRIES[:2]:
        for symbol in reversed(inside):
            if (match := entry.match(symbol)) is not None and match[1] in _NAMES:
                return _plain(match[1])
    if any(_FAULT.match(symbol) for symbol in inside):
        return PAGE_FAULT
    return _by_caller(frames) or _by_helper(inside)


def _by_helper(inside: Sequence[str]) -> str | None:
    for symbol in reversed(inside):
        if (match := _ENTRIES[2].match(symbol)) is not None and match[1] in _NAMES:
            return _plain(match[1])
    return None


def _by_caller(frames: Sequence[Place]) -> str | None:
    callers = [frame for frame in frames if not frame.kernel and not _OF_GO.match(frame.symbol)]
    if not callers:
        return None
    first = callers[0]
    if first.symbol.startswith("syscall."):
        return _stripped(first.symbol.removeprefix("syscall."))
    return _stripped(first.symbol) if _LIBC.search(first.dso) else None


def _stripped(symbol: str) -> str | None:
    """A libc's function such as `__GI___libc_read` or `__write_nocancel` without what its maker put around it."""
    bare = symbol.partition("@")[0]
    for prefix in ("__GI_", "__libc_", "__", "_"):
        bare = bare.removeprefix(prefix)
    for suffix in ("_nocancel", "_time64", "64"):
        if bare not in _NAMES:
            bare = bare.removesuffix(suffix)
    return _plain(bare) if bare in _NAMES else None


def _plain(name: str) -> str:
    """The name that people know: the manual's, where the kernel's differs by what it replaced."""
    return {"newfstatat": "fstatat", "pread64": "pread", "pwrite64": "pwrite"}.get(name, name)


# ── /proc ────────────────────────────────────────────────────────────────────────────────────────

_STACK_LINE = re.compile(r"\[<[0-9a-fx]+>\] ([^\s+]+)(?:\+0x[0-9a-f]+/0x[0-9a-f]+)?(?: (\[[^\s\]]+\]))?")


def call_of(line: str, machine: str) -> str | None:
    """The system call of a `/proc/PID/task/TID/syscall` line (format: proc(5)), by name or as `system call 999`.

    None for a thread that runs or that waits outside of a call.
    """
    first = line.split(" ", 1)[0].strip()
    if not first.isascii() or not first.isdecimal() or len(first) > 9:  # `running`, or -1
        return None
    name = name_of(int(first), machine)
    return f"system call {int(first)}" if name is None else _plain(name)


def stack_frames(text: str) -> tuple[Place, ...]:
    """The functions of a `/proc/PID/task/TID/stack` file, innermost first."""
    found = (_STACK_LINE.match(line) for line in text.splitlines()[:256])
    return tuple(Place(match[1], match[2] or KERNEL) for match in found if match is not None)
