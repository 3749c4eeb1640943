// SPDX-License-Identifier: Apache-2.0
#include "softmmu/sandbox.h"

#include <linux/sched.h>
#include <seccomp.h>
#include <sys/prctl.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <span>
#include <type_traits>

namespace emu::softmmu {
namespace {

using Filter = std::unique_ptr<std::remove_pointer_t<scmp_filter_ctx>, decltype(&seccomp_release)>;

// Nothing that runs a machine has a use for these.
constexpr int kNever[] = {
    SCMP_SYS(reboot),        SCMP_SYS(swapon),         SCMP_SYS(swapoff),       SCMP_SYS(syslog),
    SCMP_SYS(mount),         SCMP_SYS(umount2),        SCMP_SYS(pivot_root),    SCMP_SYS(chroot),
    SCMP_SYS(kexec_load),    SCMP_SYS(kexec_file_load), SCMP_SYS(init_module),  SCMP_SYS(finit_module),
    SCMP_SYS(delete_module), SCMP_SYS(quotactl),       SCMP_SYS(acct),          SCMP_SYS(sethostname),
    SCMP_SYS(setdomainname), SCMP_SYS(settimeofday),   SCMP_SYS(clock_settime), SCMP_SYS(clock_adjtime),
    SCMP_SYS(adjtimex),      SCMP_SYS(add_key),        SCMP_SYS(request_key),   SCMP_SYS(keyctl),
    SCMP_SYS(ptrace),        SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(nfsservctl),
    SCMP_SYS(lookup_dcookie), SCMP_SYS(move_mount),    SCMP_SYS(open_tree),     SCMP_SYS(fsopen),
    SCMP_SYS(fsmount),       SCMP_SYS(bpf),            SCMP_SYS(userfaultfd),   SCMP_SYS(vhangup)};
constexpr int kObsolete[] = {SCMP_SYS(_sysctl),  SCMP_SYS(bdflush),  SCMP_SYS(create_module),
                             SCMP_SYS(get_kernel_syms), SCMP_SYS(query_module), SCMP_SYS(sgetmask), SCMP_SYS(ssetmask),
                             SCMP_SYS(sysfs),      SCMP_SYS(uselib),   SCMP_SYS(ustat)};
constexpr int kPrivileges[] = {SCMP_SYS(setuid),    SCMP_SYS(setgid),    SCMP_SYS(setpgid),  SCMP_SYS(setsid),
                               SCMP_SYS(setreuid),  SCMP_SYS(setregid),  SCMP_SYS(setresuid), SCMP_SYS(setresgid),
                               SCMP_SYS(setfsuid),  SCMP_SYS(setfsgid),  SCMP_SYS(setgroups)};
constexpr int kSpawn[] = {SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(execve), SCMP_SYS(execveat)};
constexpr int kResources[] = {SCMP_SYS(setpriority),    SCMP_SYS(sched_setparam),    SCMP_SYS(sched_setscheduler),
                              SCMP_SYS(sched_setattr),  SCMP_SYS(sched_setaffinity), SCMP_SYS(ioprio_set),
                              SCMP_SYS(mbind),          SCMP_SYS(migrate_pages),     SCMP_SYS(move_pages),
                              SCMP_SYS(set_mempolicy)};

Result<void> check(int status, const char* what) {
  if (status == 0) return {};
  return error("-sandbox: {}: {}", what, std::strerror(-status));
}

Result<void> deny(const Filter& filter, std::span<const int> calls, u32 action) {
  for (const int call : calls) {
    if (call < 0) continue;  // this architecture has no such call
    EMU_TRY(check(::seccomp_rule_add(filter.get(), action, call, 0), "cannot deny a system call"));
  }
  return {};
}

/// Threads are made as before; processes are not.
Result<void> deny_processes(const Filter& filter) {
  EMU_TRY(deny(filter, kSpawn, SCMP_ACT_KILL_PROCESS));
  const scmp_arg_cmp no_thread = SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0);
  EMU_TRY(check(::seccomp_rule_add(filter.get(), SCMP_ACT_KILL_PROCESS, SCMP_SYS(clone), 1, no_thread), "clone"));
  // Its flags are in memory, where a filter cannot look; libraries take clone() then.
  return check(::seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0), "clone3");
}

}  // namespace

Result<SandboxOptions> parse_sandbox(Options& options) {
  SandboxOptions sandbox;
  const auto on = EMU_TRY(options.take_bool("enable"));
  if (!on) return error(Error("it is on or off").with_hint("write -sandbox on[,spawn=deny...]"));
  sandbox.on = *on;
  const auto allowed = [&](const char* key, bool& value) -> Result<void> {
    if (const auto at = EMU_TRY(options.take_enum(key, {"allow", "deny"}))) value = *at == 0;
    return {};
  };
  EMU_TRY(allowed("obsolete", sandbox.obsolete));
  EMU_TRY(allowed("spawn", sandbox.spawn));
  EMU_TRY(allowed("resourcecontrol", sandbox.resource_control));
  if (const auto at = EMU_TRY(options.take_enum("elevateprivileges", {"allow", "deny", "children"}))) {
    sandbox.privileges = SandboxOptions::Privileges(*at);
  }
  EMU_TRY(options.finish());
  return sandbox;
}

Result<void> enter_sandbox(const SandboxOptions& options) {
  if (!options.on) return {};
  const Filter filter(::seccomp_init(SCMP_ACT_ALLOW), &seccomp_release);
  if (filter == nullptr) return error("-sandbox: no memory for the filter");
  EMU_TRY(check(::seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_TSYNC, 1), "threads cannot be filtered together"));
  EMU_TRY(deny(filter, kNever, SCMP_ACT_KILL_PROCESS));
  if (!options.obsolete) EMU_TRY(deny(filter, kObsolete, SCMP_ACT_KILL_PROCESS));
  if (options.privileges == SandboxOptions::Privileges::Deny) {
    EMU_TRY(deny(filter, kPrivileges, SCMP_ACT_KILL_PROCESS));
  }
  if (!options.spawn) EMU_TRY(deny_processes(filter));
  if (!options.resource_control) EMU_TRY(deny(filter, kResources, SCMP_ACT_ERRNO(EPERM)));
  // Loading sets no-new-privileges, without which the kernel takes a filter from root only: set-user-id programs that
  // are started do not gain anything, as children=deny asks for.
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return error("-sandbox: {}", std::strerror(errno));
  return check(::seccomp_load(filter.get()), "the kernel takes no filter");
}

}  // namespace emu::softmmu
