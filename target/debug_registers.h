// SPDX-License-Identifier: Apache-2.0
// The registers of a guest CPU as a debugger numbers them.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "util/types.h"

namespace emu::target {

class Vcpu;

struct DebugRegister {
  std::string name;
  unsigned bits = 64;
  std::string type = "int";  ///< of gdb's target descriptions: "int64", "code_ptr", or one of the feature's own types
  std::string group = {};
  unsigned bytes() const { return bits / 8; }
};

/// A group of registers that debuggers know by name.
struct DebugFeature {
  std::string name;       ///< "org.gnu.gdb.i386.core"
  std::string file;       ///< "64bit-core.xml"
  std::string types = {}; ///< XML of the types that its registers use
  std::vector<DebugRegister> registers;
};

/// Of one CPU. Registers are numbered through all features, in order. With the vCPU paused.
class DebugRegisters {
 public:
  virtual ~DebugRegisters() = default;
  /// As debuggers name it: "i386:x86-64".
  virtual const std::string& architecture() const = 0;
  virtual const std::vector<DebugFeature>& features() const = 0;
  /// Little-endian, as long as the register.
  virtual void read(unsigned number, std::span<u8> value) const = 0;
  /// False: the CPU does not take that value.
  virtual bool write(unsigned number, std::span<const u8> value) = 0;
};

}  // namespace emu::target
