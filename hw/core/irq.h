// SPDX-License-Identifier: Apache-2.0
// Interrupt wires: outputs, inputs, and what can stand between them.
#pragma once

#include <atomic>
#include <functional>
#include <vector>

#include "util/types.h"

namespace emu::hw {

/// Something with numbered interrupt inputs. set_irq may come from any thread, and again with the level unchanged; it
/// must not take the machine lock. Lock order: device → PIC → IOAPIC → LAPIC.
class IrqSink {
 public:
  virtual ~IrqSink() = default;
  virtual void set_irq(unsigned number, bool level) = 0;
};

/// One input of a sink: what an IrqLine is connected to. A value; an unconnected one swallows levels.
struct IrqInput {
  IrqSink* sink = nullptr;
  unsigned number = 0;

  bool is_connected() const { return sink != nullptr; }
  void set(bool level) const {
    if (sink != nullptr) sink->set_irq(number, level);
  }
};

/// An output of a device. Wired once, before the machine runs or the device is plugged; set from any thread, but the
/// device itself orders its sets (its lock, or its thread). No allocation, no lock.
class IrqLine {
 public:
  IrqLine() = default;
  IrqLine(const IrqLine&) = delete;
  IrqLine& operator=(const IrqLine&) = delete;

  /// Replaces the connection, and shows the new end the present level if that is high.
  void connect(IrqInput input) {
    input_ = input;
    if (is_high()) input_.set(true);
  }
  void disconnect() {
    if (is_high()) input_.set(false);
    input_ = {};
  }
  const IrqInput& input() const { return input_; }

  void set(bool level) {
    level_.store(level, std::memory_order_relaxed);
    input_.set(level);
  }
  void raise() { set(true); }
  void lower() { set(false); }
  /// An edge: high, then low.
  void pulse() {
    set(true);
    set(false);
  }
  bool is_high() const { return level_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> level_{false};
  IrqInput input_;
};

/// One input, many outputs.
class IrqSplitter final : public IrqSink {
 public:
  void add_output(IrqInput output) { outputs_.push_back(output); }
  IrqInput input() { return {this, 0}; }
  void set_irq(unsigned, bool level) override {
    for (const IrqInput& output : outputs_) output.set(level);
  }

 private:
  std::vector<IrqInput> outputs_;
};

/// Up to 64 inputs, one output: high while any of them is (a shared level-triggered line).
class IrqOr final : public IrqSink {
 public:
  void connect(IrqInput output) { output_ = output; }
  IrqInput input(unsigned number) { return {this, number & 63}; }
  void set_irq(unsigned number, bool level) override {
    const u64 mine = u64(1) << (number & 63);
    const u64 before = level ? levels_.fetch_or(mine) : levels_.fetch_and(~mine);
    const u64 after = level ? before | mine : before & ~mine;
    if ((before != 0) != (after != 0)) output_.set(after != 0);
  }

 private:
  std::atomic<u64> levels_{0};
  IrqInput output_;
};

/// Inputs handled by a function.
class IrqFunction final : public IrqSink {
 public:
  using Handler = std::function<void(unsigned number, bool level)>;
  explicit IrqFunction(Handler handler) : handler_(std::move(handler)) {}
  IrqInput input(unsigned number = 0) { return {this, number}; }
  void set_irq(unsigned number, bool level) override { handler_(number, level); }

 private:
  Handler handler_;
};

}  // namespace emu::hw
