// SPDX-License-Identifier: Apache-2.0
#include "hw/pci/pci_device.h"

#include <charconv>

#include "hw/pci/pci_bus.h"
#include "hw/pci/pci_express.h"
#include "util/file.h"
#include "util/log.h"

namespace emu::qom {

Result<hw::PciAddress> PropertyCodec<hw::PciAddress>::from(const PropertyValue& value) {
  const auto refuse = [] { return emu::error("expects a PCI address 'slot.function' in hexadecimal, as '02.0'"); };
  if (const auto* number = value.get_if<u64>())
    return *number < 256 ? Result<hw::PciAddress>(hw::PciAddress{u8(*number)}) : refuse();
  if (const auto* number = value.get_if<i64>()) {
    return *number >= 0 && *number < 256 ? Result<hw::PciAddress>(hw::PciAddress{u8(*number)}) : refuse();
  }
  const auto* text = value.get_if<std::string>();
  if (text == nullptr) return refuse();
  const auto hex = [](std::string_view digits, unsigned limit) -> std::optional<unsigned> {
    if (digits.starts_with("0x")) digits.remove_prefix(2);
    unsigned number = 0;
    const auto [end, failed] = std::from_chars(digits.data(), digits.data() + digits.size(), number, 16);
    if (failed != std::errc() || end != digits.data() + digits.size() || number >= limit) return std::nullopt;
    return number;
  };
  const std::string_view view = *text;
  const size_t dot = view.find('.');
  const auto slot = hex(view.substr(0, dot), hw::pci::kSlots);
  const auto function = dot == std::string_view::npos ? 0 : hex(view.substr(dot + 1), hw::pci::kFunctions);
  if (!slot || !function) return refuse();
  return hw::PciAddress{hw::pci_devfn(*slot, *function)};
}

PropertyValue PropertyCodec<hw::PciAddress>::to(hw::PciAddress address) {
  return fmt::format("{:02x}.{:x}", address.devfn >> 3, address.devfn & 7);
}

}  // namespace emu::qom

namespace emu::hw {
namespace {

using namespace pci;

// What the low bits of a BAR say, §6.2.5.1
constexpr u32 kBarIo = 1, kBar64 = 4, kBarPrefetch = 8;

bool is_io(BarKind kind) { return kind == BarKind::Io; }
bool is_64bit(BarKind kind) { return kind == BarKind::Memory64 || kind == BarKind::PrefetchableMemory64; }
bool is_prefetchable(BarKind kind) {
  return kind == BarKind::PrefetchableMemory32 || kind == BarKind::PrefetchableMemory64;
}

}  // namespace

PciDevice::PciDevice(const PciIdentity& identity)
    : identity_(identity), config_(kConfigBytes) {}

void PciDevice::describe(TypeInfo<PciDevice>& type) {
  type.plugs_into(PciBus::kTypeName);
  type.property("addr", &PciDevice::address_, "slot and function, as 02.0; the first free slot if not given");
  type.property("multifunction", &PciDevice::multifunction_, "whether the slot may have more functions than 0");
  type.property("romfile", &PciDevice::rom_file_, "file with the expansion ROM");
  type.property("rombar", &PciDevice::rom_bar_, "whether the guest sees the expansion ROM");
  type.saved(2, &PciDevice::fields, &PciDevice::after_load);
}

PciBus& PciDevice::pci_bus() const {
  auto* pci = dynamic_cast<PciBus*>(bus());
  EMU_CHECK(pci != nullptr);
  return *pci;
}

// Life cycle. --------------------------------------------------------------------------------------------------------

PciDevice::~PciDevice() {
  if (dma_space_ == nullptr) return;
  const mem::MachineLockScope guard(memory().lock());  // the list of spaces; a device that goes is on the main loop
  dma_space_.reset();
}

Result<void> PciDevice::before_realize() {
  has_left_ = false;
  dma_space_.reset();
  dma_root_.reset();
  const bool express = identity_.express && dynamic_cast<PcieBus*>(bus()) != nullptr;
  config_ = PciConfig(express ? kExpressConfigBytes : kConfigBytes);
  for (PciBar& bar : bars_) bar = {};
  msi_.reset();
  msix_.reset();
  write_standard_header();
  return {};
}

void PciDevice::write_standard_header() {
  config_.set16(VENDOR_ID, identity_.vendor);
  config_.set16(DEVICE_ID, identity_.device);
  config_.set8(REVISION_ID, identity_.revision);
  config_.set8(CLASS_PROG, identity_.prog_if);
  config_.set16(CLASS_DEVICE, identity_.class_code);
  config_.set8(HEADER_TYPE, u8((multifunction_ ? kMultifunction : 0) | (identity_.bridge ? kBridgeHeader : 0)));
  if (!identity_.bridge) {
    config_.set16(SUBSYSTEM_VENDOR_ID, identity_.subsystem_vendor);
    config_.set16(SUBSYSTEM_ID, identity_.subsystem);
  }
  config_.allow16(COMMAND,
                  kCommandIo | kCommandMemory | kCommandMaster | kCommandParity | kCommandSerr | kCommandIntxDisable);
  config_.clears16(STATUS, kStatusErrors);
  config_.device_changes(STATUS, u8(kStatusInterrupt));
  config_.allow8(CACHE_LINE_SIZE, 0xff);
  config_.allow8(INTERRUPT_LINE, 0xff);
}

Result<void> PciDevice::after_realize() {
  if (!rom_file_.empty()) EMU_TRY(add_rom());
  config_.remember_reset_values();
  intx_disabled_ = false;
  return {};
}

void PciDevice::after_unrealize() {
  set_intx(false);
  for (PciBar& bar : bars_) {
    if (bar.region != nullptr) bar.region->remove_from_parent();
    bar = {};
  }
  // Requests that end later find nothing to write to; the space stays for them.
  has_left_ = true;
  if (dma_window_ != nullptr) dma_window_->remove_from_parent();
  dma_window_.reset();
}

void PciDevice::before_reset_enter() {
  config_.reset();
  if (msi_ != nullptr) msi_->take_registers();
  if (msix_ != nullptr) {
    msix_->reset();
    msix_->take_registers();
  }
  update_mappings();
  update_bus_master();
  intx_disabled_ = false;
  update_intx();
}

/// The file must look like an expansion ROM, §6.3.1.1.
Result<void> PciDevice::add_rom() {
  const std::string path = machine().find_data_file(rom_file_);
  const std::string bytes = EMU_TRY(read_file(path, 16u << 20), type().name() + ": romfile");
  if (bytes.size() < 3 || u8(bytes[0]) != 0x55 || u8(bytes[1]) != 0xaa) {
    return error("{}: romfile '{}' is no expansion ROM", type().name(), rom_file_);
  }
  if (!rom_bar_) return {};
  const u64 size = std::max<u64>(std::bit_ceil(bytes.size()), 2048);
  auto ram = EMU_TRY(memory().make_ram(pci_bus().path_of(*this) + "/rom", size), type().name());
  ram->write(0, bytes.data(), bytes.size());
  add_bar(kRomBar, BarKind::Memory32, add_region(mem::Region::rom(memory(), type().name() + ".rom", std::move(ram))));
  return {};
}

void PciDevice::fields(Archive& ar) {
  bool level = intx_level_;
  if (!ar.is_loading()) show_changing_bits(0, config_.size());
  ar("config", config_.bytes())("intx_level", level);
  intx_level_ = level;
  MsixTable::State messages = msix_ == nullptr ? MsixTable::State() : msix_->state();
  ar.since(2)("msix_table", messages.table).since(2)("msix_pending", messages.pending);
  if (ar.is_loading() && msix_ != nullptr) msix_->set_state(messages);
}

Result<void> PciDevice::after_load() {
  if (!config_.is_plausible()) return error("{}: saved configuration space is of another device", type().name());
  if (msi_ != nullptr) msi_->take_registers();
  if (msix_ != nullptr) msix_->take_registers();
  update_mappings();
  update_bus_master();
  intx_disabled_ = (config_.get16(COMMAND) & kCommandIntxDisable) != 0;
  update_intx();
  message_vectors_changed();
  config_written(0, config_.size());
  return {};
}

// Configuration accesses. --------------------------------------------------------------------------------------------

u32 PciDevice::config_read(unsigned offset, unsigned size) {
  show_changing_bits(offset, size);
  return read_config(offset, size);
}

/// Bits that other threads change are copied into configuration space when somebody looks.
void PciDevice::show_changing_bits(unsigned offset, unsigned size) {
  if (msi_ != nullptr && msi_->covers(offset, size)) msi_->show_pending();
  if (offset >= STATUS + 2 || offset + size <= STATUS) return;
  const u16 status = config_.get16(STATUS);
  config_.set16(STATUS, u16(intx_level_ ? status | kStatusInterrupt : status & ~kStatusInterrupt));
}

void PciDevice::config_write(unsigned offset, unsigned size, u32 value) {
  if (offset + size > config_.size()) return;
  config_.write(offset, size, value);
  const auto touches = [&](unsigned first, unsigned length) {
    return offset < first + length && first < offset + size;
  };
  if (touches(COMMAND, 2) || touches(BAR0, 4 * kBars) || touches(bar_offset(kRomBar), 4)) update_mappings();
  if (touches(COMMAND, 2)) {
    update_bus_master();
    intx_disabled_ = (config_.get16(COMMAND) & kCommandIntxDisable) != 0;
    update_intx();
  }
  message_registers_written(offset, size);
  config_written(offset, size);
}

// BARs. --------------------------------------------------------------------------------------------------------------

void PciDevice::add_bar(unsigned index, BarKind kind, mem::RegionRef region) {
  const u64 size = u64(region->size());
  EMU_CHECK(index <= kRomBar && bars_[index].region == nullptr && std::has_single_bit(size));
  EMU_CHECK(size >= (is_io(kind) ? 4 : 16) && (is_64bit(kind) ? index + 1 < kBars : size <= u64(1) << 31));
  bars_[index] = {kind, std::move(region), size, std::nullopt};
  const unsigned offset = bar_offset(index);
  if (index == kRomBar) {
    config_.allow32(offset, u32(~(size - 1)) | kRomEnable);
    return;
  }
  config_.set32(offset,
                is_io(kind) ? kBarIo : (is_64bit(kind) ? kBar64 : 0) | (is_prefetchable(kind) ? kBarPrefetch : 0));
  config_.allow32(offset, u32(~(size - 1)));
  if (is_64bit(kind)) config_.allow32(offset + 4, u32(~(size - 1) >> 32));
}

std::optional<u64> PciDevice::bar_address(unsigned index) const {
  const PciBar& bar = bars_[index];
  const u16 command = config_.get16(COMMAND);
  if (!(command & (is_io(bar.kind) ? kCommandIo : kCommandMemory))) return std::nullopt;
  u64 address = config_.get32(bar_offset(index));
  if (index == kRomBar && !(address & kRomEnable)) return std::nullopt;
  if (is_64bit(bar.kind)) address |= u64(config_.get32(bar_offset(index) + 4)) << 32;
  address = align_down(address, bar.size);
  const u64 last = address + bar.size - 1;
  // Addresses met only while firmware sizes a BAR (0 and all ones) are no place for it.
  if (address == 0 || last < address) return std::nullopt;
  if (is_io(bar.kind)) return last <= 0xffff ? std::optional(address) : std::nullopt;
  if (!is_64bit(bar.kind) && last >= 0xffff'ffff) return std::nullopt;
  if (is_64bit(bar.kind) && (last == ~u64(0) || last == 0xffff'ffff)) return std::nullopt;
  return address;
}

void PciDevice::update_mappings() {
  const mem::Transaction transaction(memory());
  for (unsigned index = 0; index <= kRomBar; index++) {
    PciBar& bar = bars_[index];
    if (bar.region == nullptr) continue;
    const std::optional<u64> address = bar_address(index);
    if (address == bar.address) continue;
    bar.region->remove_from_parent();
    bar.address = address;
    if (!address) continue;
    // Above what the chipset decodes by itself, such as the VGA window: a BAR there is the guest's own wish.
    mem::Region& space = is_io(bar.kind) ? pci_bus().ports() : pci_bus().memory_space();
    space.add(*address, bar.region, 1);
  }
}

mem::AddressSpace& PciDevice::dma() const {
  if (dma_space_ == nullptr) {
    dma_root_ = mem::Region::container(memory(), "bus master container", mem::kWholeAddressSpace);
    if (!has_left_) {
      const auto* pci = dynamic_cast<const PciBus*>(bus());
      mem::RegionRef target = pci == nullptr ? nullptr : pci->dma_root(devfn_);
      if (target == nullptr) target = machine().system_memory().root();
      dma_window_ = mem::Region::alias(memory(), "bus master", std::move(target), 0, mem::kWholeAddressSpace);
      dma_window_->set_enabled(is_bus_master());
      dma_root_->add(0, dma_window_);
    }
    dma_space_ = std::make_unique<mem::AddressSpace>(memory(), type().name(), dma_root_);
  }
  return *dma_space_;
}

void PciDevice::update_bus_master() {
  if (dma_window_ != nullptr) dma_window_->set_enabled(is_bus_master());
}

bool PciDevice::add_express_endpoint() {
  const auto* pcie = dynamic_cast<const PcieBus*>(bus());
  if (pcie == nullptr || config_.size() != kExpressConfigBytes) return false;
  const bool integrated = pcie->bridge() == nullptr;
  add_express_capability(config_, integrated ? ExpressKind::IntegratedEndpoint : ExpressKind::Endpoint);
  return true;
}

// Interrupt pin. -----------------------------------------------------------------------------------------------------

void PciDevice::set_intx(bool level) {
  intx_level_ = level;
  update_intx();
}

void PciDevice::update_intx() {
  auto* pci = dynamic_cast<PciBus*>(bus());
  const u8 pin = config_.get8(INTERRUPT_PIN);
  if (pci == nullptr || pin == 0 || pin > 4) return;
  const std::lock_guard guard(pin_mutex_);
  pci->set_pin(devfn_, pin - 1, intx_level_ && !intx_disabled_ && !uses_msi() && !uses_msix());
}

// Messages. ----------------------------------------------------------------------------------------------------------

void PciDevice::add_msi(unsigned vectors) {
  EMU_CHECK(msi_ == nullptr);
  msi_ = std::make_unique<MsiCapability>(config_, vectors);
  static_cast<void>(dma());  // made now: a thread that notifies must not
}

void PciDevice::add_msix(unsigned vectors, unsigned bar) {
  const u32 table_bytes = vectors * MsixTable::kEntryBytes;
  const u32 pending_offset = table_bytes <= 0x800 ? 0x800 : u32(align_up(table_bytes, 0x1000));
  const u64 size = std::bit_ceil(std::max<u64>(0x1000, pending_offset + align_up(vectors, 64) / 8));
  auto container = add_region(mem::Region::container(memory(), type().name() + "-msix", size));
  add_msix_in(vectors, bar, container, 0, pending_offset);
  add_bar(bar, BarKind::Memory32, std::move(container));
}

void PciDevice::add_msix_in(unsigned vectors, unsigned bar_index, mem::RegionRef bar_container, u32 table_offset,
                            u32 pending_offset) {
  EMU_CHECK(msix_ == nullptr);
  msix_ = std::make_unique<MsixTable>(config_, vectors, bar_index, table_offset, pending_offset);
  static_cast<void>(dma());
  constexpr int kOverOthers = 1;
  bar_container->add(table_offset,
                     add_region(mem::Region::mmio(
                         memory(), "msix-table", msix_->table_bytes(),
                         [this](u64 offset, unsigned) { return msix_->read_table(u32(offset)); },
                         [this](u64 offset, u64 value, unsigned) { write_msix_table(u32(offset), u32(value)); },
                         {.valid = {4, 8}, .impl = {4, 4}})),
                     kOverOthers);
  bar_container->add(pending_offset,
                     add_region(mem::Region::mmio(
                         memory(), "msix-pba", msix_->pending_bytes(),
                         [this](u64 offset, unsigned) { return msix_->read_pending(u32(offset)); }, {},
                         {.valid = {4, 8}, .impl = {4, 4}, .locking = mem::Locking::None})),
                     kOverOthers);
}

void PciDevice::write_msix_table(u32 offset, u32 value) {
  const auto due = msix_->write_table(offset, value);
  if (due) send(*due);
  message_vectors_changed();
}

void PciDevice::message_registers_written(unsigned offset, unsigned size) {
  const bool msi = msi_ != nullptr && msi_->covers(offset, size);
  const bool msix = msix_ != nullptr && msix_->covers(offset, size);
  if (!msi && !msix) return;
  const auto due = msi ? msi_->registers_changed() : msix_->registers_changed();
  update_intx();  // before the messages: whoever hears of one finds the pin released
  for (const PciMessage& message : due) send(message);
  message_vectors_changed();
}

void PciDevice::notify_msi(unsigned vector) {
  if (msi_ == nullptr) return;
  if (const auto message = msi_->notify(vector)) send(*message);
}

void PciDevice::notify_msix(unsigned vector) {
  if (msix_ == nullptr) return;
  if (const auto message = msix_->notify(vector)) send(*message);
}

/// The sender may hold a lock of its device, so a message must not end where the machine lock would be taken.
void PciDevice::send(const PciMessage& message) {
  mem::AddressSpace& space = dma();
  {
    const mem::GracePeriods::ReadGuard guard(memory().grace());
    const mem::Section target = space.view().lookup(message.address);
    if (!target.is_mapped()) return;
    if (!target.is_ram() && target.region->options().locking == mem::Locking::Machine) {
      log::guest_error("{}: an interrupt message to {:#x} would go to a device, which takes none", type().name(),
                       message.address);
      return;
    }
  }
  const auto* pci = dynamic_cast<const PciBus*>(bus());
  const u16 requester = pci == nullptr ? u16(0) : pci->requester_id(devfn_);
  static_cast<void>(space.store(message.address, 4, message.data, {.requester_id = requester}));
}

}  // namespace emu::hw
