// SPDX-License-Identifier: Apache-2.0
// Filter `blkdebug`: makes requests fail as its rules say, for tests of whatever stands above.
#include <algorithm>
#include <cerrno>
#include <map>

#include "block/filter/filter_node.h"

namespace emu::block {
namespace {

enum class Event : u8 { None, ReadAio, WriteAio, FlushToDisk };
enum class Request : u8 { Read, Write, WriteZeroes, Discard, Flush, BlockStatus };

struct InjectError {
  Event event = Event::None;
  u64 state = 0;  ///< 0: any
  std::optional<Request> request;
  int code = EIO;
  std::optional<u64> sector;
  bool once = false;
  bool is_spent = false;
};
struct SetState {
  Event event = Event::None;
  u64 state = 0;
  u64 new_state = 1;
};

/// The numbers N of keys "<list>.N.something".
std::vector<std::string> list_prefixes(const Options& options, const std::string& list) {
  std::vector<std::string> prefixes;
  for (const auto& [key, value] : options.pairs()) {
    if (!key.starts_with(list + ".")) continue;
    const auto dot = key.find('.', list.size() + 1);
    if (dot == std::string::npos) continue;
    const std::string prefix = key.substr(0, dot + 1);
    if (std::ranges::find(prefixes, prefix) == prefixes.end()) prefixes.push_back(prefix);
  }
  return prefixes;
}

Result<Event> take_event(Options& options, const std::string& key) {
  const auto event = EMU_TRY(options.take_enum(key, {"none", "read_aio", "write_aio", "flush_to_disk"}));
  if (!event) return error("{} is missing", key);
  return Event(*event);
}

class BlkdebugNode final : public FilterNode {
 public:
  struct Rules {
    std::vector<InjectError> errors;
    std::vector<SetState> states;
    u64 alignment = 0;
  };
  BlkdebugNode(EventLoop& loop, const NodeSettings& settings, NodeRef image, Rules rules)
      : FilterNode(loop, settings, "image", std::move(image)), rules_(std::move(rules)) {}

  static Result<Rules> take_rules(Options& options) {
    Rules rules;
    for (const std::string& prefix : list_prefixes(options, "inject-error")) {
      InjectError rule;
      rule.event = EMU_TRY(take_event(options, prefix + "event"));
      rule.state = EMU_TRY(options.take_u64_or(prefix + "state", 0));
      if (const auto type = EMU_TRY(options.take_enum(
              prefix + "iotype", {"read", "write", "write-zeroes", "discard", "flush", "block-status"}))) {
        rule.request = Request(*type);
      }
      rule.code = int(EMU_TRY(options.take_u64_or(prefix + "errno", EIO)));
      if (rule.code <= 0 || rule.code > 4095) return error("{}errno must be 1 to 4095", prefix);
      rule.sector = EMU_TRY(options.take_u64(prefix + "sector"));
      rule.once = EMU_TRY(options.take_bool_or(prefix + "once", false));
      EMU_TRY(options.take_bool_or(prefix + "immediately", false));  // they are, always
      rules.errors.push_back(rule);
    }
    for (const std::string& prefix : list_prefixes(options, "set-state")) {
      SetState rule;
      rule.event = EMU_TRY(take_event(options, prefix + "event"));
      rule.state = EMU_TRY(options.take_u64_or(prefix + "state", 0));
      rule.new_state = EMU_TRY(options.take_u64_or(prefix + "new_state", 1));
      rules.states.push_back(rule);
    }
    rules.alignment = EMU_TRY(options.take_size("align")).value_or(0);
    if ((rules.alignment & (rules.alignment - 1)) != 0 || rules.alignment > (1 << 20)) {
      return error("align={} is not a power of two up to 1 MiB", rules.alignment);
    }
    return rules;
  }

  static Task<Result<NodeRef>> open(OpenContext& context, Options options) {
    if (options.has("config")) {
      co_return error("blkdebug: config= is not there yet: write the rules as inject-error.0.*");
    }
    auto rules = take_rules(options);
    EMU_CO_TRY(rules);
    std::string role = "image";
    auto image = co_await context.open_child(options, std::move(role));
    EMU_CO_TRY(image);
    if (!*image) co_return error("blkdebug: image= is missing");
    auto known = options.finish();
    EMU_CO_TRY(known);
    if ((*image)->is_read_only()) context.settings.read_only = true;
    co_return std::make_shared<BlkdebugNode>(context.loop, context.settings, *image, std::move(*rules));
  }

  std::string_view driver() const override { return "blkdebug"; }
  BlockLimits limits() const override {
    BlockLimits limits = below().limits();
    limits.request_alignment = std::max(limits.request_alignment, u32(rules_.alignment));
    return limits;
  }

  Task<IoStatus> read(u64 offset, IoVec to) override {
    IoStatus status = hit(Event::ReadAio, Request::Read, offset, total_bytes(to));
    if (status == 0) status = co_await below().read(offset, to);
    co_return status;
  }
  Task<IoStatus> write(u64 offset, IoVec from, IoFlags flags) override {
    IoStatus status = hit(Event::WriteAio, Request::Write, offset, total_bytes(from));
    if (status == 0) status = co_await below().write(offset, from, flags);
    co_return status;
  }
  Task<IoStatus> write_zeroes(u64 offset, u64 length, IoFlags flags) override {
    IoStatus status = hit(Event::None, Request::WriteZeroes, offset, length);
    if (status == 0) status = co_await below().write_zeroes(offset, length, flags);
    co_return status;
  }
  Task<IoStatus> discard(u64 offset, u64 length) override {
    IoStatus status = hit(Event::None, Request::Discard, offset, length);
    if (status == 0) status = co_await below().discard(offset, length);
    co_return status;
  }
  Task<IoStatus> flush() override {
    IoStatus status = hit(Event::FlushToDisk, Request::Flush, 0, 0);
    if (status == 0) status = co_await below().flush();
    co_return status;
  }

 private:
  /// What the first rule that matches says; 0 when none does.
  IoStatus hit(Event event, Request request, u64 offset, u64 length) {
    IoStatus status = 0;
    for (InjectError& rule : rules_.errors) {
      if (rule.is_spent || (rule.event != Event::None && rule.event != event)) continue;
      if (rule.state != 0 && rule.state != state_) continue;
      if (rule.request && *rule.request != request) continue;
      if (!rule.request && request == Request::BlockStatus) continue;
      const u64 at = rule.sector.value_or(0) * 512;
      if (rule.sector && (at < offset || at >= offset + length)) continue;
      rule.is_spent = rule.once;
      status = rule.code;
      break;
    }
    u64 next = state_;
    for (const SetState& rule : rules_.states) {
      if (rule.event == event && (rule.state == 0 || rule.state == state_)) next = rule.new_state;
    }
    state_ = next;
    return status;
  }

  Rules rules_;
  u64 state_ = 1;
};

}  // namespace

void register_blkdebug_driver(DriverRegistry& drivers) {
  drivers.add({.name = "blkdebug", .is_filter = true, .open = BlkdebugNode::open});
}

}  // namespace emu::block
