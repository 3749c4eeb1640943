// SPDX-License-Identifier: Apache-2.0
#include "hw/acpi/tables.h"

#include <cstring>

#include "hw/acpi/dsdt.h"
#include "hw/acpi/piix4_pm.h"
#include "hw/isa/ich9_lpc.h"

namespace emu::hw {
namespace {

using Blob = AcpiTables::Blob;

// The same as QEMU's, since guests recognise the platform by them.
constexpr std::string_view kOemId = "BOCHS ", kOemTableId = "BXPC    ", kCreatorId = "BXPC";
constexpr u32 kHeaderBytes = 36, kFacsBytes = 64;

/// Collects tables in one blob.
class Writer {
 public:
  explicit Writer(AcpiTables& out) : out_(out) {}

  u32 at() const { return u32(out_.tables.size()); }
  Writer& number(u64 value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++) out_.tables.push_back(u8(value >> (8 * i)));
    return *this;
  }
  Writer& u8s(u64 v) { return number(v, 1); }
  Writer& u16s(u64 v) { return number(v, 2); }
  Writer& u32s(u64 v) { return number(v, 4); }
  Writer& u64s(u64 v) { return number(v, 8); }
  Writer& zeros(size_t count) {
    out_.tables.insert(out_.tables.end(), count, 0);
    return *this;
  }
  Writer& text(std::string_view ascii) {
    out_.tables.insert(out_.tables.end(), ascii.begin(), ascii.end());
    return *this;
  }
  /// The address of what is at `offset` of the blob.
  Writer& pointer(u32 offset, u8 size) {
    out_.pointers.push_back({Blob::Tables, at(), size});
    return number(offset, size);
  }
  /// Generic address structure, §5.2.3.2.
  Writer& address(u8 space, u8 bit_width, u8 access, u64 where) {
    return u8s(space).u8s(bit_width).u8s(0).u8s(access).u64s(where);
  }

  /// A table with its header; `body` writes what follows. Returns its offset.
  template <typename Body>
  u32 table(std::string_view signature, u8 revision, Body&& body) {
    const u32 start = at();
    text(signature).u32s(0).u8s(revision).u8s(0).text(kOemId).text(kOemTableId).u32s(1).text(kCreatorId).u32s(1);
    body();
    const u32 length = at() - start;
    for (unsigned i = 0; i < 4; i++) out_.tables[start + 4 + i] = u8(length >> (8 * i));
    out_.checksums.push_back({Blob::Tables, start + 9, start, length});
    out_.directory.push_back({std::string(signature), start, length});
    return start;
  }

  u32 whole_table(const std::vector<u8>& table) {
    constexpr size_t kChecksumAt = 9;
    const u32 start = at();
    out_.tables.insert(out_.tables.end(), table.begin(), table.end());
    out_.tables[start + kChecksumAt] = 0;
    out_.checksums.push_back({Blob::Tables, u32(start + kChecksumAt), start, u32(table.size())});
    out_.directory.push_back({std::string(table.begin(), table.begin() + 4), start, u32(table.size())});
    return start;
  }

 private:
  AcpiTables& out_;
};

// FADT, §5.2.9. ------------------------------------------------------------------------------------------------------

struct FixedHardware {
  bool q35;
  u16 smi_port, gpe0;
  u8 gpe0_bytes, acpi_enable, acpi_disable;
};

FixedHardware fixed_hardware(const AcpiConfig& config) {
  if (config.chipset == AcpiConfig::Chipset::Q35) {
    return {true, ApmPort::kPort,       u16(config.pm_base + Ich9Lpc::GPE0),
            16,   Ich9Lpc::kAcpiEnable, Ich9Lpc::kAcpiDisable};
  }
  return {false, ApmPort::kPort, Piix4Pm::kGpePort, 4, Piix4Pm::kAcpiEnable, Piix4Pm::kAcpiDisable};
}

u32 write_fadt(Writer& w, const AcpiConfig& config, u32 facs, u32 dsdt) {
  const FixedHardware hw = fixed_hardware(config);
  // Flags: no fixed sleep button, RTC cannot wake from S4; C1 and WBINVD work; the PM timer is a fit clock source.
  constexpr u32 kWbinvd = bit(0), kProcC1 = bit(2), kSleepButtonNone = bit(5), kRtcS4 = bit(7),
                kResetSupported = bit(10), kPlatformClock = bit(15);
  constexpr u16 kHas8042 = bit(1);
  constexpr u8 kIo = 1;
  const u32 flags = kWbinvd | kProcC1 | kSleepButtonNone | kRtcS4 | kPlatformClock | (hw.q35 ? kResetSupported : 0);
  const u16 evt = config.pm_base, cnt = u16(config.pm_base + 4), tmr = u16(config.pm_base + 8);
  return w.table("FACP", hw.q35 ? 3 : 1, [&] {
    w.pointer(facs, 4).pointer(dsdt, 4);
    w.u8s(1).u8s(0);  // dual 8259 present too; no preferred profile
    w.u16s(config.sci).u32s(hw.smi_port).u8s(hw.acpi_enable).u8s(hw.acpi_disable).u8s(0).u8s(0);
    w.u32s(evt).u32s(0).u32s(cnt).u32s(0).u32s(0).u32s(tmr).u32s(hw.gpe0).u32s(0);
    w.u8s(4).u8s(2).u8s(0).u8s(4).u8s(hw.gpe0_bytes).u8s(0).u8s(0).u8s(0);
    w.u16s(0xfff).u16s(0xfff);  // latencies that say: no C2, no C3
    w.u16s(0).u16s(0).u8s(0).u8s(0).u8s(0).u8s(0);
    w.u8s(0x32);  // CMOS index of the century
    w.u16s(hw.q35 && config.has_ps2 ? kHas8042 : 0).u8s(0).u32s(flags);
    if (!hw.q35) return;
    w.address(kIo, 8, 0, 0xcf9).u8s(0x0f).zeros(3);  // reset register and the value that resets
    w.pointer(facs, 8).pointer(dsdt, 8);
    w.address(kIo, 32, 0, evt).address(0, 0, 0, 0);
    w.address(kIo, 16, 0, cnt).address(0, 0, 0, 0);
    w.address(0, 0, 0, 0);
    w.address(kIo, 32, 0, tmr);
    w.address(kIo, u8(hw.gpe0_bytes * 8), 0, hw.gpe0).address(0, 0, 0, 0);
  });
}

// MADT, §5.2.12. -----------------------------------------------------------------------------------------------------

u32 write_madt(Writer& w, const AcpiConfig& config) {
  constexpr u32 kPcatCompatible = 1, kEnabled = 1;
  constexpr u16 kLevelHigh = 0x0d;
  constexpr u32 kFirstX2apicId = 255;  // what does not fit in a byte
  constexpr u8 kAllProcessors = 0xff;
  return w.table("APIC", 1, [&] {
    w.u32s(config.lapic_address).u32s(kPcatCompatible);
    bool any_x2apic = false;
    for (u32 uid = 0; uid < config.apic_ids.size(); uid++) {
      const u32 id = config.apic_ids[uid];
      if (id < kFirstX2apicId && uid < kFirstX2apicId) {
        w.u8s(0).u8s(8).u8s(uid).u8s(id).u32s(kEnabled);
      } else {
        any_x2apic = true;
        w.u8s(9).u8s(16).u16s(0).u32s(id).u32s(kEnabled).u32s(uid);
      }
    }
    w.u8s(1).u8s(12).u8s(config.ioapic_id).u8s(0).u32s(config.ioapic_address).u32s(0);
    w.u8s(2).u8s(10).u8s(0).u8s(0).u32s(2).u16s(0);  // the timer's interrupt 0 comes in at input 2
    for (const u8 irq : {5, 9, 10, 11}) w.u8s(2).u8s(10).u8s(0).u8s(irq).u32s(irq).u16s(kLevelHigh);
    if (any_x2apic) w.u8s(10).u8s(12).u16s(0).u32s(~u32(0)).u8s(1).zeros(3);  // NMI at LINT1 of all
    w.u8s(4).u8s(6).u8s(kAllProcessors).u16s(0).u8s(1);
  });
}

// The small ones. ----------------------------------------------------------------------------------------------------

u32 write_hpet(Writer& w) {
  constexpr u32 kBlockId = 0x8086'a201;  // low half of the capability register
  return w.table("HPET", 1, [&] { w.u32s(kBlockId).address(0, 0, 0, 0xfed0'0000).u8s(0).u16s(0).u8s(0); });
}

u32 write_mcfg(Writer& w, u64 ecam_base) {
  return w.table("MCFG", 1, [&] { w.zeros(8).u64s(ecam_base).u16s(0).u8s(0).u8s(0xff).u32s(0); });
}

/// Windows ACPI emulated devices table: one read of the PM timer is enough.
u32 write_waet(Writer& w) {
  return w.table("WAET", 1, [&] { w.u32s(2); });
}

}  // namespace

AcpiTables build_acpi_tables(const AcpiConfig& config) {
  AcpiTables out;
  Writer w(out);
  const u32 facs = w.at();
  w.text("FACS").u32s(kFacsBytes).zeros(kFacsBytes - 8);
  out.directory.push_back({"FACS", facs, kFacsBytes});

  const aml::Aml body = build_dsdt_body(config);
  const u32 dsdt = w.table("DSDT", 1, [&] {  // revision 1: integers have 32 bits
    out.tables.insert(out.tables.end(), body.bytes().begin(), body.bytes().end());
  });
  std::vector<u32> listed = {write_fadt(w, config, facs, dsdt), write_madt(w, config)};
  if (config.has_hpet) listed.push_back(write_hpet(w));
  if (config.ecam_base) listed.push_back(write_mcfg(w, *config.ecam_base));
  listed.push_back(write_waet(w));
  for (const std::vector<u8>& extra : config.extra_tables) listed.push_back(w.whole_table(extra));
  const u32 rsdt = w.table("RSDT", 1, [&] {
    for (const u32 table : listed) w.pointer(table, 4);
  });

  // RSDP of revision 0, §5.2.5.3: all tables lie below 4 GiB, so an XSDT would say nothing more.
  constexpr std::string_view kSignature = "RSD PTR ";
  out.rsdp.assign(kSignature.begin(), kSignature.end());
  out.rsdp.push_back(0);  // checksum
  out.rsdp.insert(out.rsdp.end(), kOemId.begin(), kOemId.end());
  out.rsdp.push_back(0);
  out.pointers.push_back({Blob::Rsdp, u32(out.rsdp.size()), 4});
  for (unsigned i = 0; i < 4; i++) out.rsdp.push_back(u8(rsdt >> (8 * i)));
  out.checksums.push_back({Blob::Rsdp, 8, 0, u32(out.rsdp.size())});
  return out;
}

// For firmware. ------------------------------------------------------------------------------------------------------

namespace {

constexpr size_t kFileNameBytes = 56, kCommandBytes = 128;
enum LoaderCommand : u32 { kAllocate = 1, kAddPointer = 2, kAddChecksum = 3 };
enum LoaderZone : u8 { kHighMemory = 1, kFSegment = 2 };

const char* file_of(Blob blob) { return blob == Blob::Tables ? kAcpiTablesFile : kAcpiRsdpFile; }

class Script {
 public:
  Script& command(LoaderCommand number) {
    finish();
    return u32s(number);
  }
  Script& file(std::string_view name) {
    const size_t end = bytes_.size() + kFileNameBytes;
    bytes_.insert(bytes_.end(), name.begin(), name.end());
    bytes_.resize(end);
    return *this;
  }
  Script& u32s(u32 v) {
    for (unsigned i = 0; i < 4; i++) bytes_.push_back(u8(v >> (8 * i)));
    return *this;
  }
  Script& u8s(u8 v) {
    bytes_.push_back(v);
    return *this;
  }
  std::vector<u8> finish() {
    bytes_.resize((bytes_.size() + kCommandBytes - 1) / kCommandBytes * kCommandBytes);
    return bytes_;
  }

 private:
  std::vector<u8> bytes_;
};

}  // namespace

std::vector<u8> acpi_loader_script(const AcpiTables& tables) {
  Script script;
  script.command(kAllocate).file(kAcpiTablesFile).u32s(64).u8s(kHighMemory);
  script.command(kAllocate).file(kAcpiRsdpFile).u32s(16).u8s(kFSegment);
  for (const auto& p : tables.pointers) {
    script.command(kAddPointer).file(file_of(p.blob)).file(kAcpiTablesFile).u32s(p.offset).u8s(p.size);
  }
  for (const auto& c : tables.checksums) {
    script.command(kAddChecksum).file(file_of(c.blob)).u32s(c.offset).u32s(c.start).u32s(c.length);
  }
  return script.finish();
}

PlacedAcpi place_acpi_tables(const AcpiTables& tables, u64 address) {
  PlacedAcpi placed{address, tables.tables, tables.rsdp};
  const auto bytes_of = [&](Blob blob) -> std::vector<u8>& {
    return blob == Blob::Tables ? placed.tables : placed.rsdp;
  };
  for (const auto& p : tables.pointers) {
    u8* at = bytes_of(p.blob).data() + p.offset;
    u64 value = 0;
    std::memcpy(&value, at, p.size);  // both sides are little-endian
    value += address;
    std::memcpy(at, &value, p.size);
  }
  for (const auto& c : tables.checksums) {
    std::vector<u8>& bytes = bytes_of(c.blob);
    u8 sum = 0;
    for (u32 i = 0; i < c.length; i++) sum = u8(sum + bytes[c.start + i]);
    bytes[c.offset] = u8(bytes[c.offset] - sum);
  }
  return placed;
}

}  // namespace emu::hw
