// SPDX-License-Identifier: Apache-2.0
#include "softmmu/qtest/qtest.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "softmmu/qtest/encoding.h"
#include "util/string.h"

namespace emu::softmmu {

// --- Log ---

Result<QtestLog> QtestLog::open(const std::string& path) {
  QtestLog log;
  if (path == "none") return log;
  log.file_ = stderr;
  if (path.empty()) return log;
  log.owned_.reset(std::fopen(path.c_str(), "we"));
  if (log.owned_ == nullptr) return error("-qtest-log: cannot make '{}': {}", path, std::strerror(errno));
  log.file_ = log.owned_.get();
  return log;
}

void QtestLog::begin() { start_ = Clock::monotonic_now(); }

void QtestLog::write(char direction, std::string_view line) {
  if (file_ == nullptr) return;
  const double seconds = double((Clock::monotonic_now() - start_).count()) / 1e9;
  const std::string text = fmt::format("[{} +{:.6f}] {}\n", direction, seconds, line);
  std::fwrite(text.data(), 1, text.size(), file_);
  std::fflush(file_);
}

// --- Connection ---

/// Stands at the end of a wire that a test listens to.
class Qtest::Interceptor final : public hw::IrqSink {
 public:
  explicit Interceptor(Qtest& test) : test_(test) {}
  void set_irq(unsigned number, bool level) override {
    if (test_.machine_.loop().is_loop_thread()) {
      test_.irq_changed(number, level);
      return;
    }
    test_.machine_.loop().post([this, alive = std::weak_ptr<const int>(test_.alive_), number, level] {
      if (alive.lock()) test_.irq_changed(number, level);
    });
  }

 private:
  Qtest& test_;
};

Qtest::Qtest(Chardev& stream, hw::Machine& machine, hw::Board& board, Time time, QtestLog log)
    : stream_(stream),
      machine_(machine),
      board_(board),
      time_(time),
      log_(std::move(log)),
      interceptor_(std::make_unique<Interceptor>(*this)) {
  log_.begin();
}

Result<std::unique_ptr<Qtest>> Qtest::create(Chardev& stream, hw::Machine& machine, hw::Board& board, Time time,
                                             QtestLog log) {
  std::unique_ptr<Qtest> test(new Qtest(stream, machine, board, time, std::move(log)));
  EMU_TRY(stream.attach(*test));
  return test;
}

Qtest::~Qtest() {
  stream_.detach(*this);
  // It may have been unplugged meanwhile.
  auto* device = dynamic_cast<hw::Device*>(machine_.tree().find(intercepted_path_));
  if (device != nullptr && device == intercepted_) device->end_irq_interception();
}

void Qtest::event(ChardevEvent event) {
  if (event == ChardevEvent::Opened) {
    levels_.clear();
    log_.begin();
    log_.write('I', "OPENED");
  } else if (event == ChardevEvent::Closed) {
    line_.clear();
    output_.clear();
    too_long_ = false;
    log_.write('I', "CLOSED");
  }
}

void Qtest::receive(std::span<const u8> data) {
  for (const u8 byte : data) {
    if (byte != '\n') {
      if (line_.size() < kLongestLine) {
        line_ += char(byte);
      } else {
        too_long_ = true;
      }
      continue;
    }
    const std::string line = std::exchange(line_, {});
    if (std::exchange(too_long_, false)) {
      send("FAIL Line too long");
    } else {
      take_line(line);
    }
  }
}

void Qtest::take_line(std::string_view line) {
  log_.write('R', line);
  std::vector<std::string_view> words;
  for (const std::string_view word : split(line, ' ')) {
    if (const std::string_view plain = trim(word); !plain.empty()) words.push_back(plain);
  }
  if (words.empty()) {
    send("FAIL Empty command");
    return;
  }
  mem::MachineLockScope guard(machine_.memory().lock());
  const auto answer = run(words);
  // What became due with the clock standing where it is happens before the test asks on.
  if (time_ == Time::Ours && machine_.clock().is_running()) machine_.clock().advance(ClockNs(0));
  if (answer) {
    send(answer->empty() ? "OK" : "OK " + *answer);
  } else {
    send("FAIL " + answer.error().message());
  }
}

Result<std::string> Qtest::run(Words words) {
  const std::string_view name = words[0];
  if (name == "outb" || name == "outw" || name == "outl" || name == "inb" || name == "inw" || name == "inl") {
    return port(words);
  }
  if (name.size() >= 5 && (name.substr(0, name.size() - 1) == "read" || name.substr(0, name.size() - 1) == "write") &&
      std::string_view("bwlq").find(name.back()) != std::string_view::npos) {
    return access(words);
  }
  if (name == "read" || name == "write" || name == "b64read" || name == "b64write" || name == "memset") {
    return block(words);
  }
  if (time_ == Time::Ours && (name == "clock_step" || name == "clock_set")) return move_clock(words);
  if (name == "irq_intercept_in" || name == "irq_intercept_out") return intercept(words);
  if (name == "set_irq_in") return set_irq(words);
  if (name == "endianness") {
    if (words.size() != 1) return error("endianness: no arguments expected");
    return std::string("little");
  }
  return error("Unknown command '{}'", name);
}

namespace {

Result<void> expect_words(std::span<const std::string_view> words, std::size_t least, std::size_t most) {
  if (words.size() - 1 >= least && words.size() - 1 <= most) return {};
  return error("{}: {} arguments expected, {} given", words[0], least == most ? fmt::format("{}", least)
                                                                             : fmt::format("{} to {}", least, most),
               words.size() - 1);
}

/// Where nothing answers, reads give ones and writes go nowhere, as for a CPU.
void ignore(mem::MemTxResult) {}

unsigned bytes_of(char suffix) { return suffix == 'b' ? 1 : suffix == 'w' ? 2 : suffix == 'l' ? 4 : 8; }

Result<u64> number(std::string_view text) {
  const auto value = parse_u64(text);
  if (!value) return error("Bad number '{}'", text);
  return *value;
}

/// As programs write values: negative numbers stand for their two's complement.
Result<u64> value_number(std::string_view text) {
  if (text.starts_with('-')) return u64(0) - EMU_TRY(number(text.substr(1)));
  return number(text);
}

}  // namespace

mem::AddressSpace& Qtest::memory() const {
  const auto cpus = board_.cpus();
  return cpus.empty() ? machine_.system_memory() : *cpus[0].memory;
}

Result<std::string> Qtest::port(Words words) {
  const bool out = words[0].starts_with("out");
  EMU_TRY(expect_words(words, out ? 2 : 1, out ? 2 : 1));
  const u64 address = EMU_TRY(number(words[1]));
  if (address > 0xffff) return error("Port {:#x} is beyond the last one", address);
  const unsigned bytes = bytes_of(words[0].back());
  if (out) {
    ignore(machine_.io_ports().store(address, bytes, EMU_TRY(value_number(words[2])) & (~u64(0) >> (64 - bytes * 8))));
    return std::string();
  }
  u64 value = 0;
  ignore(machine_.io_ports().load(address, bytes, value));
  return fmt::format("0x{:04x}", value & (~u64(0) >> (64 - bytes * 8)));
}

Result<std::string> Qtest::access(Words words) {
  const bool write = words[0].starts_with("write");
  EMU_TRY(expect_words(words, write ? 2 : 1, write ? 2 : 1));
  const u64 address = EMU_TRY(number(words[1]));
  const unsigned bytes = bytes_of(words[0].back());
  if (write) {
    ignore(memory().store(address, bytes, EMU_TRY(value_number(words[2])) & (~u64(0) >> (64 - bytes * 8))));
    return std::string();
  }
  u64 value = 0;
  ignore(memory().load(address, bytes, value));
  return fmt::format("0x{:016x}", value & (~u64(0) >> (64 - bytes * 8)));
}

Result<std::string> Qtest::block(Words words) {
  const std::string_view name = words[0];
  const bool reads = name == "read" || name == "b64read";
  EMU_TRY(expect_words(words, reads ? 2 : 3, reads ? 2 : 3));
  const u64 address = EMU_TRY(number(words[1])), size = EMU_TRY(number(words[2]));
  if (address + size < address) return error("{} bytes from {:#x} wrap around", size, address);
  if (name == "memset") {
    const u64 value = EMU_TRY(value_number(words[3]));
    if (size > u64(1) << 32) return error("{} bytes are too many at once", size);
    ignore(memory().fill(address, u8(value), size));
    return std::string();
  }
  if (size == 0) return error("{}: no bytes asked for", name);
  if (size > kMostBytes) return error("{} bytes are too many at once", size);
  std::vector<u8> data(size);
  if (reads) {
    ignore(memory().read(address, data));
    return name == "read" ? to_hex(data) : to_base64(data);
  }
  if (name == "write") {
    // What is short is filled with zeros, and what is too much is left out.
    const std::vector<u8> given = EMU_TRY(from_hex(words[3]));
    std::copy_n(given.begin(), std::min<u64>(given.size(), size), data.begin());
  } else {
    const std::vector<u8> given = EMU_TRY(from_base64(words[3]));
    if (given.size() != size) return error("b64write: {} bytes announced, {} given", size, given.size());
    data = given;
  }
  ignore(memory().write(address, data));
  return std::string();
}

Result<std::string> Qtest::move_clock(Words words) {
  Clock& clock = machine_.clock();
  const bool step = words[0] == "clock_step";
  EMU_TRY(expect_words(words, step ? 0 : 1, 1));
  const ClockNs now = clock.now();
  ClockNs to = now;
  if (words.size() > 1) {
    const u64 given = EMU_TRY(number(words[1]));
    if (given > u64(ClockNs::max().count())) return error("{} ns are too many", given);
    to = step ? saturating_add(now, ClockNs(i64(given))) : ClockNs(i64(given));
  } else if (const auto next = clock.main_queue().deadline()) {
    to = *next;
  }
  if (to > now) clock.advance(to - now);
  return fmt::format("{}", clock.now().count());
}

/// An object's path, the end of one if no other ends so, or the type's name where there is one such device.
Result<hw::Device*> Qtest::find_device(std::string_view path) const {
  qom::ObjectTree& tree = machine_.tree();
  if (path.starts_with('/')) {
    if (auto* device = dynamic_cast<hw::Device*>(tree.find(path))) return device;
    return error("Unknown device");
  }
  hw::Device* found = nullptr;
  unsigned by_path = 0, by_type = 0;
  hw::Device* of_type = nullptr;
  tree.root().visit([&](qom::Object& object) {
    auto* device = dynamic_cast<hw::Device*>(&object);
    if (device == nullptr) return;
    const std::string full = object.path();
    if (full.ends_with("/" + std::string(path))) {
      by_path++;
      found = device;
    }
    if (object.type().name() == path) {
      by_type++;
      of_type = device;
    }
  });
  if (by_path == 1) return found;
  if (by_path == 0 && by_type == 1) return of_type;
  return error("{}", by_path + by_type == 0 ? "Unknown device" : "Several devices have that name");
}

Result<std::string> Qtest::intercept(Words words) {
  EMU_TRY(expect_words(words, 1, 1));
  hw::Device* device = EMU_TRY(find_device(words[1]));
  if (intercepted_ != nullptr) {
    if (intercepted_ != device) return error("IRQ intercept already enabled");
    return std::string();
  }
  levels_.clear();
  intercepted_ = device;
  intercepted_path_ = device->path();
  if (words[0] == "irq_intercept_in") {
    device->intercept_irq_ins(*interceptor_);
  } else {
    device->intercept_irq_outs(*interceptor_);
  }
  return std::string();
}

Result<std::string> Qtest::set_irq(Words words) {
  EMU_TRY(expect_words(words, 4, 4));
  hw::Device* device = EMU_TRY(find_device(words[1]));
  const u64 line = EMU_TRY(number(words[3])), level = EMU_TRY(number(words[4]));
  const auto input = device->find_irq_in(words[2] == "unnamed-gpio-in" ? "" : words[2], line);
  if (!input) return error("Unknown GPIO");
  input->set(level != 0);
  return std::string();
}

void Qtest::irq_changed(unsigned number, bool level) {
  if (number >= levels_.size()) levels_.resize(number + 1);
  if (levels_[number] == level) return;
  levels_[number] = level;
  send(fmt::format("IRQ {} {}", level ? "raise" : "lower", number));
}

void Qtest::send(std::string_view line) {
  log_.write('S', line);
  output_.push(std::span(reinterpret_cast<const u8*>(line.data()), line.size()));
  output_.push(u8('\n'));
  flush();
}

void Qtest::flush() {
  while (!output_.empty()) {
    const std::size_t taken = stream_.write(output_.front());
    if (taken == 0) return;
    output_.pop(taken);
  }
}

}  // namespace emu::softmmu
