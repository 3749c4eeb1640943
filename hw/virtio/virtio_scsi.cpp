// SPDX-License-Identifier: Apache-2.0
// Properties, configuration, control and event queue of the SCSI controller. Requests are in virtio_scsi_requests.cpp.
#include "hw/virtio/virtio_scsi.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "hw/core/plug.h"
#include "hw/pci/pci_device.h"
#include "hw/virtio/virtio_scsi_regs.h"
#include "util/log.h"
#include "util/trace.h"

namespace emu::hw {

using namespace virtio;
using namespace virtio_scsi;

namespace {

constexpr u64 kHotplug = bit64(1), kChange = bit64(2);  // 5.6.3

struct Config {  // 5.6.4
  Le32 num_queues, seg_max, max_sectors, cmd_per_lun, event_info_size, sense_size, cdb_size;
  Le16 max_channel, max_target;
  Le32 max_lun;
};
static_assert(sizeof(Config) == 36);
constexpr u32 kSenseSizeOffset = 20, kCdbSizeOffset = 24;
constexpr u32 kDefaultSense = 96, kDefaultCdb = 32, kMostSense = 0xffff, kMostCdb = 0xff;

constexpr u32 kAutoQueues = ~0u;
constexpr u32 kMostRequestQueues = kMaxQueues - 2;
/// Chains keep two descriptors for header and response.
constexpr u32 kSegMaxUnadjusted = 128 - 2;
constexpr u32 kMaxTarget = 255, kMaxLun = 16383;

// Event queue, 5.6.6.3
enum EventKind : u32 { kTransportReset = 1, kParamChange = 3, kEventsMissed = 0x8000'0000 };
enum ResetReason : u32 { kRescan = 1, kRemoved = 2 };
struct EventInfo {
  Le32 event;
  u8 lun[8] = {};
  Le32 reason;
};
static_assert(sizeof(EventInfo) == 16);
constexpr size_t kMostEvents = 64;

// Control queue, 5.6.6.2
enum ControlType : u32 { kTmf = 0, kAsyncQuery = 1, kAsyncSubscribe = 2 };
enum TmfKind : u32 {
  kAbortTask = 0,
  kAbortTaskSet = 1,
  kClearAca = 2,
  kClearTaskSet = 3,
  kNexusReset = 4,
  kUnitReset = 5,
  kQueryTask = 6,
  kQueryTaskSet = 7,
};
struct TmfRequest {
  Le32 type, subtype;
  u8 lun[8];
  Le64 id;
};
static_assert(sizeof(TmfRequest) == 24);
struct AsyncRequest {
  Le32 type;
  u8 lun[8];
  Le32 events;
};
static_assert(sizeof(AsyncRequest) == 16);

void put_lun(u8 (&lun)[8], const ScsiAddress& address) {
  lun[0] = 1;
  lun[1] = u8(address.target);
  // As REPORT LUNS says it: drivers compare.
  lun[2] = address.lun < 256 ? 0 : u8(0x40 | address.lun >> 8);
  lun[3] = u8(address.lun);
}

}  // namespace

// Life cycle. --------------------------------------------------------------------------------------------------------

VirtioScsi::VirtioScsi()
    : VirtioDevice(DeviceId::Scsi, sizeof(Config)), sense_size_(kDefaultSense), cdb_size_(kDefaultCdb) {}

void VirtioScsi::describe(TypeInfo<VirtioScsi>& type) {
  using V = VirtioScsi;
  type.doc("SCSI controller");
  type.category(Category::Storage);
  type.link("iothread", &V::iothread_, "/objects", "thread that serves queues and disks; the main loop if not given");
  type.property("num_queues", &V::num_queues_, "request queues; 4294967295 stands for one a vCPU (on PCI)");
  type.property("virtqueue_size", &V::queue_size_, "entries of each queue, a power of two");
  type.property("seg_max_adjust", &V::seg_max_adjust_, "as many segments as the queue has room for");
  type.property("max_sectors", &V::max_sectors_, "of one request, as the driver is told");
  type.property("cmd_per_lun", &V::cmd_per_lun_, "commands of one unit at a time, as the driver is told");
  type.property("hotplug", &V::hotplug_, "offer to tell of units that come and go");
  type.property("param_change", &V::param_change_, "offer to tell of units that change");
  type.property("t10_pi", &V::t10_pi_, "off only");
  type.saved(1, &V::fields, &V::after_load);
}

Result<void> VirtioScsi::check_properties() const {
  const std::string& name = type().name();
  if (num_queues_ != kAutoQueues && (num_queues_ == 0 || num_queues_ > kMostRequestQueues)) {
    return error("{}: Invalid number of queues (= {}), must be a positive integer less than {}", name, num_queues_,
                 kMostRequestQueues + 1);
  }
  if (queue_size_ <= 2 || queue_size_ > kMaxQueueSize || !std::has_single_bit(queue_size_)) {
    return error("{}: invalid virtqueue_size (= {}), must be a power of 2 from 4 to {}", name, queue_size_,
                 kMaxQueueSize);
  }
  if (t10_pi_) return error("{}: t10_pi=on is not supported", name);
  return {};
}

/// QEMU's name, which people write as bus=: of the function's id, where it has one.
std::string VirtioScsi::bus_name() const {
  const auto* function = dynamic_cast<const Device*>(parent());
  const std::string base = function != nullptr && !function->id().empty() ? function->id() : id();
  if (!base.empty()) return base + ".0";
  unsigned number = 0;
  while (find_bus(tree()->root(), fmt::format("scsi.{}", number)) != nullptr) ++number;
  return fmt::format("scsi.{}", number);
}

Result<void> VirtioScsi::realize() {
  EMU_TRY(check_properties());
  const bool on_pci = dynamic_cast<const PciDevice*>(parent()) != nullptr;
  const unsigned auto_queues = on_pci ? std::min(machine().vcpu_count(), kMostRequestQueues) : 1;
  const unsigned queues = num_queues_ == kAutoQueues ? auto_queues : num_queues_;
  EventLoop* loop = iothread_ != nullptr ? &iothread_->loop() : machine().main_event_loop();
  for (unsigned i = 0; i < kFirstRequests + queues; ++i) add_queue(u16(queue_size_), loop);
  if (iothread_ != nullptr) iothread_->add_user();
  bus_ = &add_bus<ScsiBus>(bus_name());
  bus_->set_transport(*this, {.channels = 1, .targets = kMaxTarget + 1, .luns = kMaxLun + 1});
  bus_->set_hotplug(this);
  return {};
}

void VirtioScsi::unrealize() {
  stop_queues();
  if (iothread_ != nullptr) iothread_->remove_user();
}

void VirtioScsi::virtio_reset() {
  sense_size_ = kDefaultSense;
  cdb_size_ = kDefaultCdb;
  {
    const std::lock_guard hold(mutex_);
    events_.clear();
    missed_ = false;
  }
  for (const auto& session : bus_->sessions()) session->abort(std::nullopt, ScsiEnd::Reset, nullptr);
}

// What the driver sees. ----------------------------------------------------------------------------------------------

u64 VirtioScsi::device_features() const { return (hotplug_ ? kHotplug : 0) | (param_change_ ? kChange : 0); }

void VirtioScsi::fill_config(std::span<u8> bytes) const {
  Config config;
  config.num_queues = queue_count() - kFirstRequests;
  config.seg_max = seg_max_adjust_ ? queue_size_ - 2 : kSegMaxUnadjusted;
  config.max_sectors = max_sectors_;
  config.cmd_per_lun = cmd_per_lun_;
  config.event_info_size = u32(sizeof(EventInfo));
  config.sense_size = sense_size_.load();
  config.cdb_size = cdb_size_.load();
  config.max_target = u16(kMaxTarget);
  config.max_lun = kMaxLun;
  std::memcpy(bytes.data(), &config, std::min(bytes.size(), sizeof config));
}

void VirtioScsi::config_written(std::span<const u8> bytes, u32 offset, u32 size) {
  Config config;
  std::memcpy(&config, bytes.data(), sizeof config);
  const auto touches = [&](u32 field) { return offset < field + 4 && field < offset + size; };
  const u32 sense = config.sense_size.get(), cdb = config.cdb_size.get();
  if (sense > kMostSense || cdb == 0 || cdb > kMostCdb) {
    log::guest_error("{}: sense_size {} or cdb_size {} is out of range", path(), sense, cdb);
    return;
  }
  if (touches(kSenseSizeOffset)) sense_size_ = sense;
  if (touches(kCdbSizeOffset)) cdb_size_ = cdb;
}

void VirtioScsi::handle_queue(unsigned index) {
  if (index == kEvents) return flush_events();
  const std::shared_ptr<VirtQueue> queue = shared_queue(index);
  const auto take = [&](VirtElementPtr element) {
    if (index == kControl) {
      control(std::move(element));
    } else {
      start(queue, std::move(element));
    }
    return true;
  };
  queue->process(take, index == kControl ? VirtQueue::Asking::Always : VirtQueue::Asking::WhenQuiet);
}

// Control. -----------------------------------------------------------------------------------------------------------

/// A task management function under way; answered when the last command that it waits for is.
class VirtioScsi::Tmf {
 public:
  Tmf(std::shared_ptr<VirtQueue> queue, VirtElementPtr element)
      : queue_(std::move(queue)), element_(std::move(element)) {}
  ~Tmf() {
    queue_->while_current(*element_, [&] { static_cast<void>(element_->write<u8>(0, response)); });
    queue_->push_and_notify(std::move(element_), 1);
  }
  Tmf(const Tmf&) = delete;
  Tmf& operator=(const Tmf&) = delete;

  u8 response = kResponseOk;

 private:
  std::shared_ptr<VirtQueue> queue_;
  VirtElementPtr element_;
};

void VirtioScsi::control(VirtElementPtr element) {
  const std::shared_ptr<VirtQueue> queue = shared_queue(kControl);
  const auto type = element->read<Le32>(0);
  if (type && *type == kTmf) {
    const auto request = element->read<TmfRequest>(0);
    if (request && element->writable_bytes() >= 1) {
      EMU_TRACE("virtio_scsi_tmf", "function {} target {} lun {} tag {:#x}", request->subtype.get(), request->lun[1],
                (request->lun[2] << 8 | request->lun[3]) & 0x3fff, request->id.get());
      const auto task = std::make_shared<Tmf>(queue, std::move(element));
      return manage(task, request->subtype.get(), address_of(request->lun), request->id.get());
    }
  } else if (type && (*type == kAsyncQuery || *type == kAsyncSubscribe)) {
    constexpr u64 kAnswerBytes = 5;
    if (element->read<AsyncRequest>(0) && element->writable_bytes() >= kAnswerBytes) {
      // None of the events that there are, 5.6.6.2, is one of disks and CD-ROMs as we have them.
      static_cast<void>(element->write<Le32>(0, 0) && element->write<u8>(sizeof(Le32), kResponseOk));
      return queue->push_and_notify(std::move(element), kAnswerBytes);
    }
  } else if (type) {
    log::guest_error("virtio-scsi: control request of type {}", *type);
    return queue->push_and_notify(std::move(element), 0);
  }
  queue->fail(std::move(element), "a control request that is too short or not in RAM");
}

void VirtioScsi::manage(const std::shared_ptr<Tmf>& task, u32 what, const std::optional<ScsiAddress>& address,
                        u64 tag) {
  if (!address || !bus_->has_target(0, address->target)) {
    task->response = kResponseBadTarget;
    return;
  }
  if (what == kNexusReset) {
    for (const auto& session : bus_->sessions(0, address->target)) session->abort({}, ScsiEnd::Reset, task);
    return;
  }
  const std::shared_ptr<ScsiSession> session = bus_->find(*address);
  if (session == nullptr) {
    task->response = kResponseIncorrectLun;
    return;
  }
  const auto tell = [task](bool found) {
    if (found) task->response = kResponseFunctionSucceeded;
  };
  switch (what) {
    case kAbortTask: return session->abort(tag, ScsiEnd::Aborted, task);
    case kAbortTaskSet:
    case kClearTaskSet: return session->abort({}, ScsiEnd::Aborted, task);
    case kUnitReset: return session->abort({}, ScsiEnd::Reset, task);
    case kQueryTask: return session->ask(tag, tell);
    case kQueryTaskSet: return session->ask({}, tell);
    default: task->response = kResponseFunctionRejected;
  }
}

// Events. ------------------------------------------------------------------------------------------------------------

void VirtioScsi::push_event(const Event& event) {
  if (!is_running()) return;  // drivers look at all there is when they begin
  {
    const std::lock_guard hold(mutex_);
    if (events_.size() < kMostEvents) {
      events_.push_back(event);
    } else {
      missed_ = true;
    }
  }
  schedule(kEvents);
}

std::optional<VirtioScsi::Event> VirtioScsi::next_event() {
  const std::lock_guard hold(mutex_);
  Event event;
  if (!events_.empty()) {
    event = events_.front();
    events_.pop_front();
  } else if (!missed_) {
    return std::nullopt;
  }
  if (std::exchange(missed_, false)) event.what |= kEventsMissed;
  return event;
}

void VirtioScsi::flush_events() {
  VirtQueue& queue = *this->queue(kEvents);
  const auto is_any = [&] {
    const std::lock_guard hold(mutex_);
    return !events_.empty() || missed_;
  };
  while (is_any()) {
    VirtElementPtr element = queue.pop();
    if (element == nullptr) break;
    if (element->writable_bytes() < sizeof(EventInfo)) {
      return queue.fail(std::move(element), "an event buffer that is too short");
    }
    const auto event = next_event();
    if (!event) return queue.unpop(std::move(element));  // a reset came between
    EventInfo info;
    info.event = event->what;
    info.reason = event->reason;
    if ((event->what & ~kEventsMissed) != 0) put_lun(info.lun, event->address);
    EMU_TRACE("virtio_scsi_event", "event {:#x} reason {:#x} target {} lun {}", event->what, event->reason,
              event->address.target, event->address.lun);
    static_cast<void>(element->write<EventInfo>(0, info));
    queue.push_and_notify(std::move(element), sizeof(EventInfo));
  }
}

void VirtioScsi::unit_attention(const ScsiAddress& address, bool is_cd, ScsiSense what) {
  // CD-ROM drives are polled (GET EVENT STATUS NOTIFICATION).
  if (is_cd || !has_feature(kChange)) return;
  push_event({kParamChange, u32(what.asc | what.ascq << 8), address});
}

void VirtioScsi::device_plugged(Device& device) {
  if (has_feature(kHotplug)) push_event({kTransportReset, kRescan, static_cast<ScsiDevice&>(device).address()});
}

Result<void> VirtioScsi::request_unplug(Device& device) {
  if (has_feature(kHotplug)) push_event({kTransportReset, kRemoved, static_cast<ScsiDevice&>(device).address()});
  queue_unplug(device);  // there is no slot whose power the guest could switch off first
  return {};
}

// Saved state: requests are not in it, they are done before. ---------------------------------------------------------

void VirtioScsi::fields(Archive& ar) {
  const std::lock_guard hold(mutex_);
  bool missed = missed_ || !events_.empty();
  ar("sense_size", sense_size_)("cdb_size", cdb_size_)("events_missed", missed);
  if (ar.is_loading()) missed_ = missed;
}

Result<void> VirtioScsi::after_load() {
  if (sense_size_ > kMostSense || cdb_size_ == 0 || cdb_size_ > kMostCdb) {
    return error("{}: saved sense_size {} or cdb_size {} is out of range", path(), u32(sense_size_), u32(cdb_size_));
  }
  return {};
}

}  // namespace emu::hw
