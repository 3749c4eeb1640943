// SPDX-License-Identifier: Apache-2.0
#include "hw/scsi/scsi_bus.h"

#include <algorithm>
#include <bit>

namespace emu::hw {

using namespace scsi;

// Devices. -----------------------------------------------------------------------------------------------------------

void ScsiDevice::describe(TypeInfo<ScsiDevice>& type) {
  type.category(Category::Storage);
  type.plugs_into(ScsiBus::kTypeName);
  type.link("drive", &ScsiDevice::drive_, block::BlockBackend::kContainer, "block device behind it");
  type.property("channel", &ScsiDevice::channel_, "channel on its bus; 0 if not given");
  type.property("scsi-id", &ScsiDevice::target_, "target on its bus; the first free one if not given");
  type.property("lun", &ScsiDevice::lun_, "logical unit of the target; 0 if not given");
  type.property("bootindex", &ScsiDevice::boot_index_, "place in the firmware's boot order");
  type.property("vendor", &ScsiDevice::vendor_, "up to 8 characters");
  type.property("product", &ScsiDevice::product_, "up to 16 characters");
  type.property("ver", &ScsiDevice::version_, "revision, up to 4 characters");
  type.property("serial", &ScsiDevice::serial_, "serial number, up to 36 characters");
  type.property("device_id", &ScsiDevice::device_id_, "vendor-specific identifier of page 83h; the serial if not given");
  type.property("wwn", &ScsiDevice::wwn_, "world wide name; 0: none");
  type.property("port_wwn", &ScsiDevice::port_wwn_, "world wide name of the port; 0: none");
  type.property("port_index", &ScsiDevice::port_index_, "relative port; 0: none");
  type.property("write-cache", &ScsiDevice::write_cache_wish_, "whether the guest is told of a write cache");
  type.saved(1, &ScsiDevice::fields, &ScsiDevice::after_load);
}

void ScsiHd::describe(TypeInfo<ScsiHd>& type) {
  type.doc("SCSI hard disk");
  type.set_default("product", "QEMU HARDDISK");
  type.property("logical_block_size", &ScsiHd::logical_block_, "bytes, a power of two from 512 to 32768");
  type.property("physical_block_size", &ScsiHd::physical_block_, "bytes, a power of two, not below the logical size");
  type.property("rotation_rate", &ScsiHd::rotation_rate_, "revolutions per minute; 1: solid state; 0: not said");
  type.property("removable", &ScsiHd::removable_, "whether the medium can be taken out");
  type.property("dpofua", &ScsiHd::dpofua_, "whether forced unit access is announced");
}

void ScsiCd::describe(TypeInfo<ScsiCd>& type) {
  type.doc("SCSI CD-ROM drive");
  type.set_default("product", "QEMU CD-ROM");
}

ScsiBus& ScsiDevice::scsi_bus() const {
  auto* scsi = dynamic_cast<ScsiBus*>(bus());
  EMU_CHECK(scsi != nullptr);
  return *scsi;
}

Result<void> ScsiDevice::check_config() const {
  const std::string& what = type().name();
  if (vendor_.size() > 8 || product_.size() > 16 || version_.size() > 4 || serial_.size() > 36) {
    return error("{}: vendor, product, ver or serial is too long (8, 16, 4 and 36 characters)", what);
  }
  if (!std::has_single_bit(logical_block_) || logical_block_ < 512 || logical_block_ > 32768 ||
      !std::has_single_bit(physical_block_) || physical_block_ < logical_block_ || physical_block_ > (1u << 21)) {
    return error("{}: block sizes must be powers of two, the logical one from 512 to 32768 and not above the physical",
                 what);
  }
  if (drive_ == nullptr) return error("{}: needs drive=, the block device behind it", what);
  return {};
}

Result<void> ScsiDevice::realize() {
  const bool is_cd = config_.kind == ScsiUnitConfig::Kind::CdRom;
  if (is_cd) logical_block_ = physical_block_ = 2048;
  EMU_TRY(check_config());
  EMU_TRY(drive_->attach(*this), type().name());
  if (!is_cd && !removable_ && !drive_->has_medium()) {
    drive_->detach(*this);
    return error("{}: the drive has no medium, and a hard disk needs one", type().name());
  }
  if (write_cache_wish_ != qom::OnOffAuto::Auto) drive_->set_write_cache(write_cache_wish_ == qom::OnOffAuto::On);
  config_.vendor = vendor_;
  config_.product = product_;
  config_.version = version_;
  config_.serial = serial_;
  config_.device_id = device_id_;
  config_.wwn = wwn_;
  config_.port_wwn = port_wwn_;
  config_.port_index = port_index_;
  config_.logical_block = logical_block_;
  config_.physical_block = physical_block_;
  config_.rotation_rate = rotation_rate_;
  config_.removable = removable_ || is_cd;
  config_.dpofua = dpofua_;
  ScsiBus& bus = scsi_bus();
  unit_ = std::make_unique<ScsiUnit>(*drive_, config_,
                                     [this, &bus] { return bus.luns(address_.channel, address_.target); });
  if (bus.transport_ != nullptr) bus.transport_->device_added(*this);
  return {};
}

void ScsiDevice::unrealize() {
  if (ScsiTransport* transport = scsi_bus().transport_) transport->device_removed(*this);
  drive_->detach(*this);
  unit_.reset();
}

void ScsiDevice::resized() {
  unit_->resized();
  if (ScsiTransport* transport = scsi_bus().transport_) transport->unit_attention(*this, sense::kCapacityChanged);
}

void ScsiDevice::medium_changed(bool present) {
  unit_->medium_changed(present);
  if (ScsiTransport* transport = scsi_bus().transport_) transport->unit_attention(*this, sense::kMediumChanged);
}

void ScsiDevice::eject_requested(bool force) {
  if (unit_->eject_requested(force)) return;
  constexpr ScsiSense kEjectAsked{kUnitAttention, 0x5a, 0x01};  // operator medium removal request
  if (ScsiTransport* transport = scsi_bus().transport_) transport->unit_attention(*this, kEjectAsked);
}

// Bus. ---------------------------------------------------------------------------------------------------------------

ScsiDevice* ScsiBus::find(const ScsiAddress& address) const {
  for (Device* device : devices()) {
    auto* unit = static_cast<ScsiDevice*>(device);
    if (unit->is_realized() && unit->address_ == address) return unit;
  }
  return nullptr;
}

bool ScsiBus::has_target(u32 channel, u32 target) const {
  return std::any_of(devices().begin(), devices().end(), [&](Device* device) {
    const ScsiAddress& address = static_cast<ScsiDevice*>(device)->address_;
    return device->is_realized() && address.channel == channel && address.target == target;
  });
}

std::vector<u32> ScsiBus::luns(u32 channel, u32 target) const {
  std::vector<u32> list{0};
  for (Device* device : devices()) {
    const ScsiAddress& address = static_cast<ScsiDevice*>(device)->address_;
    if (address.channel == channel && address.target == target && address.lun != 0) list.push_back(address.lun);
  }
  std::sort(list.begin(), list.end());
  return list;
}

ScsiResult ScsiBus::answer_without_unit(u32 channel, u32 target, std::span<const u8> cdb, block::IoVec data) const {
  ScsiResult result;
  const auto answer = [&](std::span<const u8> bytes, u64 room) {
    result.bytes = copy_in(data, bytes.first(std::min<u64>(bytes.size(), room)));
    return result;
  };
  const u8 opcode = cdb.empty() ? 0xff : cdb[0];
  if (opcode == INQUIRY && cdb.size() >= 6 && cdb[1] == 0 && cdb[2] == 0) {
    std::array<u8, 36> d{0x7f, 0, 5, 0x12, 31};  // no unit here, and none can be
    return answer(d, get_be<u16>(&cdb[3]));
  }
  if (opcode == REPORT_LUNS && cdb.size() >= 12 && get_be<u32>(&cdb[6]) >= 16) {
    const std::vector<u32> list = luns(channel, target);
    std::vector<u8> d(8 + 8 * list.size());
    put_be<u32>(&d[0], u32(8 * list.size()));
    for (size_t i = 0; i < list.size(); i++) {
      if (list[i] < 256)
        d[8 + 8 * i + 1] = u8(list[i]);
      else
        put_be<u16>(&d[8 + 8 * i], u16(0x4000 | list[i]));
    }
    return answer(d, get_be<u32>(&cdb[6]));
  }
  if (opcode == REQUEST_SENSE && cdb.size() >= 6) {
    return answer(ScsiUnit::fixed_sense(sense::kLunNotSupported), cdb[4]);
  }
  result.status = CHECK_CONDITION;
  result.sense = sense::kLunNotSupported;
  return result;
}

Result<void> ScsiBus::attach(Device& device) {
  auto* unit = dynamic_cast<ScsiDevice*>(&device);
  if (unit == nullptr) return error("{} is no SCSI device", device.type().name());
  const std::string& what = device.type().name();
  ScsiAddress address{unit->channel_.value_or(0), unit->target_.value_or(0), unit->lun_.value_or(0)};
  const auto taken = [&](const ScsiAddress& wanted, bool whole_target) {
    return std::any_of(devices().begin(), devices().end(), [&](Device* other) {
      const ScsiAddress& at = static_cast<ScsiDevice*>(other)->address_;
      return at.channel == wanted.channel && at.target == wanted.target && (whole_target || at.lun == wanted.lun);
    });
  };
  if (!unit->target_) {
    while (address.target < limits_.targets && taken(address, !unit->lun_)) address.target++;
  }
  if (address.channel >= limits_.channels) return error("{}: bus {} has no channel {}", what, name(), address.channel);
  if (address.target >= limits_.targets) return error("{}: bus {} has no target {}", what, name(), address.target);
  if (address.lun >= limits_.luns) return error("{}: bus {} has no logical unit {}", what, name(), address.lun);
  if (taken(address, false)) {
    return error("{}: scsi-id {} lun {} of bus {} is in use", what, address.target, address.lun, name());
  }
  unit->address_ = address;
  return Bus::attach(device);
}

std::string ScsiBus::device_address(const Device& device) const {
  const auto* unit = dynamic_cast<const ScsiDevice*>(&device);
  if (unit == nullptr) return {};
  return fmt::format("{}:{}:{}", unit->address_.channel, unit->address_.target, unit->address_.lun);
}

void register_scsi_devices(TypeRegistry& registry) {
  registry.add_base<ScsiBus, Bus>();
  registry.add_abstract<ScsiDevice, Device>();
  registry.add<ScsiHd>("scsi-hd");
  registry.add<ScsiCd>("scsi-cd");
}

}  // namespace emu::hw
