// SPDX-License-Identifier: Apache-2.0
// What a type says about its devices: IRQ lines, regions, help category. Filled by DeviceDescription<T>.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hw/core/irq.h"
#include "qom/type.h"
#include "softmmu/memory/memory.h"

namespace emu::hw {

class Device;

/// The headings of `-device help`.
enum class Category { Bridge, Usb, Storage, Network, Input, Display, Sound, Misc, Cpu, Watchdog, None };
std::string_view category_title(Category category);  // "Storage devices"

/// One row of a register table, for trace, docs and fuzzers.
struct RegisterInfo {
  hwaddr offset;
  std::string name;
  unsigned width;  ///< bytes
  unsigned count;  ///< of an array
  unsigned stride;
  u64 rw, w1c, ro;
};

/// Register rows of one region of one type, without its C++ type.
class RegisterTableBase {
 public:
  virtual ~RegisterTableBase() = default;
  virtual std::vector<RegisterInfo> rows() const = 0;
};

class DeviceClass final : public qom::TypeExtension {
 public:
  struct IrqOut {
    std::string name;
    std::function<std::span<IrqLine>(Device&)> lines;
  };
  struct IrqIn {
    std::string name;
    unsigned count;
    std::function<void(Device&, unsigned, bool)> handler;
  };
  struct RegionSpec {
    std::string name;
    std::function<mem::RegionRef(Device&, mem::Memory&)> make;
    const RegisterTableBase* table = nullptr;
  };

  std::vector<IrqOut> irq_outs;
  std::vector<IrqIn> irq_ins;
  std::vector<RegionSpec> regions;
  std::vector<std::unique_ptr<RegisterTableBase>> tables;
  std::optional<Category> category;
  std::optional<bool> user_creatable;
  std::optional<std::string> bus_type;
};

/// Facts of a device type, inherited from the nearest ancestor that states them.
Category category_of(const qom::Type& type);
/// Whether -device may create it (default: yes).
bool is_user_creatable(const qom::Type& type);
/// Type name of the bus that it plugs into: "PCI", "ISA", "System"; "" for none.
std::string bus_type_of(const qom::Type& type);

}  // namespace emu::hw
