// SPDX-License-Identifier: Apache-2.0
#include "monitor/gdb/protocol.h"

#include <algorithm>
#include <tuple>

#include <fmt/format.h>

#include "monitor/gdb/description.h"
#include "util/log.h"

namespace emu::monitor::gdb {

using accel::DebugRun;
using accel::StepEvents;

namespace {

constexpr int kSigInt = 2, kSigQuit = 3, kSigAbrt = 6, kSigAlrm = 14;
constexpr std::size_t kMostBytes = (kPacketSize - 32) / 2;  ///< of memory in one packet

std::span<const u8> bytes_of(const std::string& text) {
  return {reinterpret_cast<const u8*>(text.data()), text.size()};
}

int signal_for(std::string_view status) {
  if (status == "shutdown") return kSigQuit;
  if (status == "guest-panicked" || status == "internal-error") return kSigAbrt;
  if (status == "watchdog") return kSigAlrm;
  return kSigInt;
}

}  // namespace

// --- Connection ---

void Protocol::connected() {
  reader_.reset();
  last_.clear();
  acknowledges_ = true;
  multiprocess_ = wants_swbreak_ = wants_hwbreak_ = described_ = physical_ = waiting_ = false;
  step_bits_ = kStepEnabled | kStepNoIrq | kStepNoTimer;
  cpu_ = 0;
  run_cpu_.reset();
  if (target_.is_running()) target_.stop();
  last_stop_ = {};  // nothing that the debugger has to be told of
  forget_points();
  if (TimeTravel* past = target_.time_travel()) past->begin();
}

void Protocol::disconnected() {
  waiting_ = false;
  if (TimeTravel* past = target_.time_travel()) past->end();
  if (software_.empty() && hardware_.empty() && watchpoints_.empty()) return;
  forget_points();
}

/// Points change only while nothing runs; a machine that ran goes on.
void Protocol::forget_points() {
  software_.clear();
  hardware_.clear();
  watchpoints_.clear();
  const bool was_running = target_.is_running();
  if (was_running) target_.stop();
  apply_points();
  if (!was_running) return;
  const std::vector<DebugRun> runs(target_.cpu_count(), DebugRun::Continue);
  if (auto resumed = target_.resume(runs, StepEvents::Taken); !resumed) log::warn("{}", resumed.error().text());
}

bool Protocol::apply_points() {
  accel::DebugPoints points;
  points.breakpoints.assign(software_.begin(), software_.end());
  points.breakpoints.insert(points.breakpoints.end(), hardware_.begin(), hardware_.end());
  points.watchpoints = watchpoints_;
  const auto set = target_.set_points(points);
  if (!set) log::warn("gdb: {}", set.error().text());
  return set.has_value();
}

void Protocol::receive(std::span<const u8> bytes) {
  for (const u8 byte : bytes) {
    switch (reader_.take(byte)) {
      case PacketReader::What::None:
        break;
      case PacketReader::What::Ack:
        last_.clear();
        break;
      case PacketReader::What::Nak:
        if (acknowledges_ && !last_.empty()) send_(last_);
        break;
      case PacketReader::What::Bad:
        if (acknowledges_) send_("-");
        break;
      case PacketReader::What::TooLong:
        if (acknowledges_) send_("+");
        reply(kInvalid);
        break;
      case PacketReader::What::Interrupt:
        if (target_.is_running()) {
          target_.stop();
        } else if (waiting_) {
          machine_stopped("paused");  // it stopped by itself, and could not say so
        }
        break;
      case PacketReader::What::Packet:
        if (acknowledges_) send_("+");
        handle(reader_.packet());
        break;
    }
  }
}

void Protocol::reply(std::string_view data) {
  last_ = frame(data);
  send_(last_);
}

void Protocol::handle(std::string_view packet) {
  // Debuggers wait while the machine runs; for those that do not, and when somebody else let it run, it stops.
  waiting_ = false;
  if (target_.is_running()) target_.stop();
  const std::string text = answer(packet);
  if (!waiting_) reply(text);
  if (ends_acks_) acknowledges_ = ends_acks_ = false;
}

// --- Stops ---

std::string Protocol::thread_name(unsigned cpu) const {
  return multiprocess_ ? fmt::format("p01.{:02x}", cpu + 1) : fmt::format("{:02x}", cpu + 1);
}

std::string Protocol::stop_reply() const {
  return fmt::format("T{:02x}thread:{};{}", last_stop_.signal, thread_name(last_stop_.cpu), last_stop_.reason);
}

void Protocol::debug_stopped(unsigned cpu, const accel::DebugStop& stop) {
  note_stop(cpu, stop);
  if (waiting_) reply(stop_reply());
  waiting_ = false;
}

void Protocol::note_stop(unsigned cpu, const accel::DebugStop& stop) {
  if (cpu < target_.cpu_count()) cpu_ = cpu;
  run_cpu_ = cpu_;
  last_stop_ = {kSigTrap, cpu_, ""};
  using Why = accel::DebugStop::Why;
  if (stop.why == Why::Watchpoint) {
    const char* name = stop.kind == accel::WatchKind::Write  ? "watch"
                       : stop.kind == accel::WatchKind::Read ? "rwatch"
                                                             : "awatch";
    last_stop_.reason = fmt::format("{}:{:x};", name, stop.address);
  } else if (stop.why == Why::Breakpoint && software_.contains(stop.address)) {
    if (wants_swbreak_) last_stop_.reason = "swbreak:;";
  } else if (stop.why == Why::Breakpoint && wants_hwbreak_) {
    last_stop_.reason = "hwbreak:;";
  }
}

void Protocol::machine_stopped(std::string_view status) {
  last_stop_ = {signal_for(status), cpu_, ""};
  if (waiting_) reply(stop_reply());
  waiting_ = false;
}

void Protocol::exiting(int status) { reply(fmt::format("W{:02x}", status & 0xff)); }

// --- Threads ---

/// "-1", "0", "3", "p1", "p1.-1", "p1.3".
std::optional<Protocol::ThreadId> Protocol::take_thread(std::string_view& text) const {
  using Kind = ThreadId::Kind;
  const auto part = [&text]() -> std::optional<i64> {
    if (take(text, "-1")) return -1;
    const auto number = take_number(text);
    if (!number || *number > 0xffff'ffff) return std::nullopt;
    return i64(*number);
  };
  if (take(text, 'p')) {
    const auto process = part();
    if (!process || *process > 1) return std::nullopt;
    if (!take(text, '.')) return ThreadId{Kind::All, 0};
  }
  const auto thread = part();
  if (!thread) return std::nullopt;
  if (*thread <= 0) return ThreadId{*thread < 0 ? Kind::All : Kind::Any, 0};
  if (u64(*thread) > target_.cpu_count()) return std::nullopt;
  return ThreadId{Kind::One, unsigned(*thread - 1)};
}

std::string Protocol::select_thread(std::string_view text) {
  const bool for_running = take(text, 'c');
  if (!for_running && !take(text, 'g')) return kInvalid;
  const auto thread = take_thread(text);
  if (!thread || !text.empty()) return kInvalid;
  const bool is_one = thread->kind == ThreadId::Kind::One;
  if (for_running) {
    run_cpu_ = is_one ? std::optional(thread->cpu) : std::nullopt;
  } else if (is_one) {
    cpu_ = thread->cpu;
  }
  return kOk;
}

// --- Dispatch ---

std::string Protocol::answer(std::string_view packet) {
  if (packet.empty()) return "";
  const char kind = packet.front();
  const std::string_view rest = packet.substr(1);
  switch (kind) {
    case '?':
      return stop_reply();
    case 'g':
      return read_registers();
    case 'G':
      return write_registers(rest);
    case 'p':
      return read_register(rest);
    case 'P':
      return write_register(rest);
    case 'm':
      return read_memory(rest);
    case 'M':
      return write_memory(rest, /*is_binary=*/false);
    case 'X':
      return write_memory(rest, /*is_binary=*/true);
    case 'Z':
    case 'z':
      return change_point(rest, kind == 'Z');
    case 'c':
    case 's':
    case 'C':
    case 'S':
      return resume_old(kind, rest);
    case 'b':
      return go_back(rest);
    case 'H':
      return select_thread(rest);
    case 'T': {
      std::string_view text = rest;
      const auto thread = take_thread(text);
      return thread && thread->kind == ThreadId::Kind::One && text.empty() ? kOk : kInvalid;
    }
    case 'D':
      return detach();
    case 'k':
      target_.quit();
      return kOk;
    case 'v':
      return answer_v(rest);
    case 'q':
      return answer_query(rest);
    case 'Q':
      return answer_set(rest);
    default:
      return "";
  }
}

std::string Protocol::answer_v(std::string_view packet) {
  if (packet == "Cont?") return "vCont;c;C;s;S";
  if (take(packet, "Cont;")) return resume_each(packet);
  if (take(packet, "Attach;")) return stop_reply();
  if (packet == "Kill" || packet.starts_with("Kill;")) {
    target_.quit();
    return kOk;
  }
  return "";
}

std::string Protocol::answer_query(std::string_view packet) {
  if (take(packet, "Supported")) return supported(packet);
  if (packet == "C") return "QC" + thread_name(cpu_);
  if (packet == "fThreadInfo") {
    std::string all = "m";
    for (unsigned cpu = 0; cpu < target_.cpu_count(); ++cpu) all += (cpu == 0 ? "" : ",") + thread_name(cpu);
    return all;
  }
  if (packet == "sThreadInfo") return "l";
  if (take(packet, "ThreadExtraInfo,")) {
    const auto thread = take_thread(packet);
    if (!thread || thread->kind != ThreadId::Kind::One) return kInvalid;
    return to_hex(fmt::format("CPU#{} [{}]", thread->cpu, target_.cpu_state(thread->cpu)));
  }
  if (packet == "Attached" || packet.starts_with("Attached:")) return "1";
  if (take(packet, "Xfer:features:read:")) return read_description(packet);
  if (take(packet, "Xfer:memory-map:read::")) return read_part(kMemoryMap, packet);
  if (take(packet, "Rcmd,")) return monitor_command(packet);
  if (take(packet, "qemu.")) return answer_emulator_query(packet);
  return "";
}

std::string Protocol::supported(std::string_view features) {
  take(features, ':');
  while (!features.empty()) {
    const std::string_view one = features.substr(0, features.find(';'));
    features.remove_prefix(std::min(features.size(), one.size() + 1));
    if (one == "multiprocess+") multiprocess_ = true;
    if (one == "swbreak+") wants_swbreak_ = true;
    if (one == "hwbreak+") wants_hwbreak_ = true;
  }
  return fmt::format("PacketSize={:x};qXfer:features:read+;qXfer:memory-map:read+;QStartNoAckMode+;vContSupported+;"
                     "swbreak+;hwbreak+{}{}",
                     kPacketSize, multiprocess_ ? ";multiprocess+" : "",
                     target_.time_travel() != nullptr ? ";ReverseStep+;ReverseContinue+" : "");
}

/// "target.xml:0,ffb": which file, from where, and how much of it.
std::string Protocol::read_description(std::string_view request) {
  const std::size_t colon = request.find(':');
  if (colon == std::string_view::npos) return kInvalid;
  const std::string_view name = request.substr(0, colon);
  const auto file = description_file(target_.registers(0), name);
  if (!file) return "E00";
  if (name == "target.xml") described_ = true;
  return read_part(*file, request.substr(colon + 1));
}

/// "0,ffb" of `file`.
std::string Protocol::read_part(std::string_view file, std::string_view request) {
  const auto offset = take_number(request);
  if (!offset || !take(request, ',')) return kInvalid;
  const auto length = take_number(request);
  if (!length || !request.empty() || *offset > file.size()) return kInvalid;
  // Escapes may double what is sent.
  const std::string_view part = file.substr(*offset, std::min<u64>(*length, kMostBytes));
  return fmt::format("{}{}", *offset + part.size() == file.size() ? 'l' : 'm', part);
}

std::string Protocol::answer_emulator_query(std::string_view name) {
  if (name == "Supported") return "sstepbits;sstep;PhyMemMode";
  if (name == "PhyMemMode") return physical_ ? "1" : "0";
  if (name == "sstepbits")
    return fmt::format("ENABLE={:x},NOIRQ={:x},NOTIMER={:x}", kStepEnabled, kStepNoIrq, kStepNoTimer);
  if (name == "sstep") return fmt::format("0x{:x}", step_bits_);
  return "";
}

std::string Protocol::answer_set(std::string_view packet) {
  if (packet == "StartNoAckMode") {
    ends_acks_ = true;
    return kOk;
  }
  if (take(packet, "qemu.PhyMemMode:")) {
    const auto value = take_number(packet);
    if (!value || !packet.empty()) return kInvalid;
    physical_ = *value != 0;
    return kOk;
  }
  if (take(packet, "qemu.sstep=") || take(packet, "qemu.sstep:")) {
    take(packet, "0x");
    const auto value = take_number(packet);
    if (!value || !packet.empty() || *value > (kStepEnabled | kStepNoIrq | kStepNoTimer)) return kInvalid;
    step_bits_ = *value;
    return kOk;
  }
  return "";
}

std::string Protocol::monitor_command(std::string_view digits) {
  const auto line = from_hex(digits);
  if (!line) return kInvalid;
  const std::string said = target_.run_line(*line);
  for (std::size_t at = 0; at < said.size(); at += kMostBytes)
    reply("O" + to_hex(std::string_view(said).substr(at, kMostBytes)));
  return kOk;
}

std::string Protocol::detach() {
  forget_points();
  if (TimeTravel* past = target_.time_travel()) past->end();
  const std::vector<DebugRun> runs(target_.cpu_count(), DebugRun::Continue);
  if (auto resumed = target_.resume(runs, StepEvents::Taken); !resumed) log::warn("gdb: {}", resumed.error().text());
  return kOk;
}

// --- Registers ---

unsigned Protocol::register_count(unsigned cpu) const {
  unsigned count = 0;
  for (const auto& feature : target_.registers(cpu).features()) count += unsigned(feature.registers.size());
  return count;
}

unsigned Protocol::register_bytes(unsigned cpu, unsigned number) const {
  for (const auto& feature : target_.registers(cpu).features()) {
    if (number < feature.registers.size()) return feature.registers[number].bytes();
    number -= unsigned(feature.registers.size());
  }
  return 0;
}

/// Debuggers that did not ask what there is know the first two groups.
bool Protocol::has_bytes(std::size_t feature) const { return described_ || feature < 2; }

std::string Protocol::read_registers() {
  target::DebugRegisters& registers = target_.registers(cpu_);
  std::string out;
  unsigned number = 0;
  for (std::size_t f = 0; f < registers.features().size() && has_bytes(f); ++f) {
    for (const auto& r : registers.features()[f].registers) {
      std::vector<u8> value(r.bytes());
      registers.read(number++, value);
      out += to_hex(value);
    }
  }
  return out;
}

std::string Protocol::write_registers(std::string_view digits) {
  const auto all = from_hex(digits);
  if (!all) return kInvalid;
  target::DebugRegisters& registers = target_.registers(cpu_);
  const std::span<const u8> bytes = bytes_of(*all);
  bool ok = true;
  std::size_t at = 0;
  const unsigned count = register_count(cpu_);
  for (unsigned number = 0; number < count; ++number) {
    const unsigned size = register_bytes(cpu_, number);
    if (at + size > bytes.size()) break;
    ok &= registers.write(number, bytes.subspan(at, size));
    at += size;
  }
  return changed(ok, kInvalid);
}

std::string Protocol::read_register(std::string_view text) {
  const auto number = take_number(text);
  if (!number || !text.empty() || *number >= register_count(cpu_)) return kInvalid;
  std::vector<u8> value(register_bytes(cpu_, unsigned(*number)));
  target_.registers(cpu_).read(unsigned(*number), value);
  return to_hex(value);
}

std::string Protocol::write_register(std::string_view text) {
  const auto number = take_number(text);
  if (!number || !take(text, '=') || *number >= register_count(cpu_)) return kInvalid;
  const auto value = from_hex(text);
  if (!value || value->size() != register_bytes(cpu_, unsigned(*number))) return kInvalid;
  return changed(target_.registers(cpu_).write(unsigned(*number), bytes_of(*value)), kInvalid);
}

/// The answer to what has changed the machine, perhaps in part.
std::string Protocol::changed(bool done, const char* otherwise) {
  if (TimeTravel* past = target_.time_travel()) past->touched();
  return done ? kOk : otherwise;
}

// --- Memory ---

std::string Protocol::read_memory(std::string_view text) {
  const auto address = take_number(text);
  if (!address || !take(text, ',')) return kInvalid;
  const auto length = take_number(text);
  if (!length || !text.empty()) return kInvalid;
  std::vector<u8> bytes(std::min<u64>(*length, kMostBytes));
  const AddressKind kind = physical_ ? AddressKind::Physical : AddressKind::Virtual;
  if (target_.read_memory(cpu_, *address, kind, bytes)) return to_hex(bytes);
  // As far as it is there.
  constexpr u64 kPage = 4096;
  std::size_t got = 0;
  while (got < bytes.size()) {
    const std::size_t size = std::min<u64>(bytes.size() - got, kPage - ((*address + got) & (kPage - 1)));
    if (!target_.read_memory(cpu_, *address + got, kind, std::span(bytes).subspan(got, size))) break;
    got += size;
  }
  if (got == 0) return kBadAddress;
  return to_hex(std::span(bytes).first(got));
}

std::string Protocol::write_memory(std::string_view text, bool is_binary) {
  const auto address = take_number(text);
  if (!address || !take(text, ',')) return kInvalid;
  const auto length = take_number(text);
  if (!length || !take(text, ':')) return kInvalid;
  const auto data = is_binary ? std::optional(std::string(text)) : from_hex(text);
  if (!data || data->size() != *length) return kInvalid;
  if (data->empty()) return kOk;
  const AddressKind kind = physical_ ? AddressKind::Physical : AddressKind::Virtual;
  return changed(target_.write_memory(cpu_, *address, kind, bytes_of(*data)), kBadAddress);
}

// --- Break- and watchpoints ---

std::string Protocol::change_point(std::string_view text, bool insert) {
  const auto type = take_number(text);
  if (!type || !take(text, ',')) return kInvalid;
  const auto address = take_number(text);
  if (!address || !take(text, ',')) return kInvalid;
  const auto length = take_number(text);
  if (!length || !text.empty()) return kInvalid;  // conditions were not offered
  if (*type > 4) return "";
  if (insert && software_.size() + hardware_.size() + watchpoints_.size() >= kMostPoints) return "E28";
  const auto before = std::tuple(software_, hardware_, watchpoints_);
  if (*type < 2) {
    std::set<u64>& points = *type == 0 ? software_ : hardware_;
    if (insert) {
      points.insert(*address);
    } else {
      points.erase(*address);
    }
  } else {
    constexpr accel::WatchKind kKinds[] = {accel::WatchKind::Write, accel::WatchKind::Read, accel::WatchKind::Access};
    const accel::Watchpoint point{*address, *length, kKinds[*type - 2]};
    if (point.bytes == 0 || *address + (point.bytes - 1) < *address) return kInvalid;
    std::erase(watchpoints_, point);
    if (insert) watchpoints_.push_back(point);
  }
  if (apply_points()) return kOk;
  std::tie(software_, hardware_, watchpoints_) = before;
  apply_points();
  return kInvalid;
}

}  // namespace emu::monitor::gdb
