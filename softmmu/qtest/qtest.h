// SPDX-License-Identifier: Apache-2.0
// -qtest: a line protocol by which a test reaches ports, memory, interrupt wires and the clock. docs/user/qtest.md.
#pragma once

#include <cstdio>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "chardev/byte_queue.h"
#include "chardev/chardev.h"
#include "hw/machine/board.h"
#include "hw/machine/machine.h"

namespace emu::softmmu {

/// Where -qtest-log writes: every line in (R), out (S), and connections (I), with the seconds since the connection.
class QtestLog {
 public:
  /// Empty: standard error; "none": nowhere. Errors: the file cannot be made.
  static Result<QtestLog> open(const std::string& path);
  void begin();
  void write(char direction, std::string_view line);

 private:
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> owned_{nullptr, &std::fclose};
  std::FILE* file_ = nullptr;
  ClockNs start_{0};
};

/// One connection. Main thread, but for interrupt wires.
class Qtest final : public ChardevFrontend {
 public:
  /// Longer lines are refused; so is reading more at once.
  static constexpr std::size_t kLongestLine = 32 << 20;
  static constexpr u64 kMostBytes = 16 << 20;

  enum class Time : u8 { Machine, Ours };  ///< whether clock_step and clock_set exist

  /// Errors: the stream is in use.
  static Result<std::unique_ptr<Qtest>> create(Chardev& stream, hw::Machine& machine, hw::Board& board, Time time,
                                               QtestLog log);
  ~Qtest() override;

  std::size_t can_receive() override { return 65536; }
  void receive(std::span<const u8> data) override;
  void event(ChardevEvent event) override;
  void writable() override { flush(); }

 private:
  using Words = std::span<const std::string_view>;
  class Interceptor;

  Qtest(Chardev& stream, hw::Machine& machine, hw::Board& board, Time time, QtestLog log);
  void take_line(std::string_view line);
  /// The answer: "OK" and what follows.
  Result<std::string> run(Words words);
  Result<std::string> port(Words words);
  Result<std::string> access(Words words);
  Result<std::string> block(Words words);
  Result<std::string> move_clock(Words words);
  Result<std::string> intercept(Words words);
  Result<std::string> set_irq(Words words);
  Result<hw::Device*> find_device(std::string_view path) const;
  mem::AddressSpace& memory() const;
  void irq_changed(unsigned number, bool level);
  void send(std::string_view line);
  void flush();

  Chardev& stream_;
  hw::Machine& machine_;
  hw::Board& board_;
  const Time time_;
  QtestLog log_;
  std::string line_;
  bool too_long_ = false;
  chardev::ByteQueue output_;
  hw::Device* intercepted_ = nullptr;  ///< to compare with; it may be gone
  std::string intercepted_path_;
  std::unique_ptr<Interceptor> interceptor_;
  std::vector<bool> levels_;
  const std::shared_ptr<const int> alive_ = std::make_shared<const int>(0);
};

}  // namespace emu::softmmu
