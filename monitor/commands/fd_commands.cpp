// SPDX-License-Identifier: Apache-2.0
// File descriptors that programs pass over a unix socket, beside the command that takes them.
#include "monitor/commands.h"
#include "monitor/commands/socket_address.h"
#include "monitor/monitors.h"

namespace emu::monitor {

Result<Fd> take_named_fd(Session& session, const std::string& name) {
  const auto at = session.named_fds.find(name);
  if (at == session.named_fds.end()) return error("File descriptor named '{}' not found", name);
  Fd fd = std::move(at->second);
  session.named_fds.erase(at);
  return fd;
}

namespace {

Result<Fd> take_received(CommandContext& context) {
  auto& received = context.session.received_fds;
  if (received.empty()) return error("No file descriptor supplied via SCM_RIGHTS");
  Fd fd = std::move(received.front());
  received.erase(received.begin());
  return fd;
}

struct FdNameArguments {
  static constexpr const char* kName = "FdNameArguments";
  std::string fdname;
  void members(auto& m) { m("fdname", fdname); }
};

Result<void> getfd(CommandContext& context, const FdNameArguments& arguments) {
  Fd fd = EMU_TRY(take_received(context));
  if (arguments.fdname.empty() || (arguments.fdname[0] >= '0' && arguments.fdname[0] <= '9')) {
    return error("Parameter 'fdname' expects a name not starting with a digit");
  }
  context.session.named_fds.insert_or_assign(arguments.fdname, std::move(fd));
  return {};
}

Result<void> closefd(CommandContext& context, const FdNameArguments& arguments) {
  if (context.session.named_fds.erase(arguments.fdname) == 0) {
    return error("File descriptor named '{}' not found", arguments.fdname);
  }
  return {};
}

struct AddFdArguments {
  static constexpr const char* kName = "AddFdArguments";
  std::optional<i64> fdset_id;
  std::optional<std::string> opaque;
  void members(auto& m) {
    m("fdset-id", fdset_id);
    m("opaque", opaque);
  }
};
struct AddFdInfo {
  static constexpr const char* kName = "AddfdInfo";
  u64 fdset_id = 0;
  int fd = -1;
  void members(auto& m) {
    m("fdset-id", fdset_id);
    m("fd", fd);
  }
};
Result<AddFdInfo> add_fd(CommandContext& context, const AddFdArguments& arguments) {
  Fd fd = EMU_TRY(take_received(context));
  const int number = fd.get();
  return AddFdInfo{EMU_TRY(context.monitors.fd_sets().add(std::move(fd), arguments.fdset_id, arguments.opaque)),
                   number};
}

struct RemoveFdArguments {
  static constexpr const char* kName = "RemoveFdArguments";
  i64 fdset_id = 0;
  std::optional<i64> fd;
  void members(auto& m) {
    m("fdset-id", fdset_id);
    m("fd", fd);
  }
};
Result<void> remove_fd(CommandContext& context, const RemoveFdArguments& arguments) {
  return context.monitors.fd_sets().remove(arguments.fdset_id, arguments.fd);
}

struct FdsetFdInfo {
  static constexpr const char* kName = "FdsetFdInfo";
  int fd = -1;
  std::optional<std::string> opaque;
  void members(auto& m) {
    m("fd", fd);
    m("opaque", opaque);
  }
};
struct FdsetInfo {
  static constexpr const char* kName = "FdsetInfo";
  u64 fdset_id = 0;
  std::vector<FdsetFdInfo> fds;
  void members(auto& m) {
    m("fdset-id", fdset_id);
    m("fds", fds);
  }
};
Result<std::vector<FdsetInfo>> query_fdsets(CommandContext& context) {
  std::vector<FdsetInfo> list;
  for (const auto& [id, set] : context.monitors.fd_sets().sets()) {
    FdsetInfo info{id, {}};
    for (const FdSets::Member& member : set.members) info.fds.push_back({member.fd.get(), member.opaque});
    list.push_back(std::move(info));
  }
  return list;
}

}  // namespace

void register_fd_commands(CommandRegistry& registry) {
  const QmpTraits early{.before_machine = true};
  registry.add(qmp("getfd", getfd, early));
  registry.add(qmp("closefd", closefd, early));
  registry.add(qmp("add-fd", add_fd, early));
  registry.add(qmp("remove-fd", remove_fd, early));
  registry.add(qmp("query-fdsets", query_fdsets, early));
}

}  // namespace emu::monitor
