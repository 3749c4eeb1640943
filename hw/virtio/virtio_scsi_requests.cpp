// SPDX-License-Identifier: Apache-2.0
// Commands on their way through the SCSI controller. Virtio 1.2, 5.6.6.1. All on the queue's or the unit's loop.
#include <algorithm>
#include <array>

#include "hw/virtio/virtio_scsi.h"
#include "hw/virtio/virtio_scsi_regs.h"
#include "util/log.h"
#include "util/trace.h"

namespace emu::hw {

using namespace virtio;
using namespace virtio_scsi;

namespace {

struct CommandHeader {  // followed by the CDB, then data
  u8 lun[8];
  Le64 id;
  u8 task_attribute, priority, crn;
};
static_assert(sizeof(CommandHeader) == 19);

struct CommandResponse {  // followed by sense, then data
  Le32 sense_length, residual;
  Le16 status_qualifier;
  u8 status = 0, response = 0;
};
static_assert(sizeof(CommandResponse) == 12);

constexpr u64 kMostReply = 64 * 1024;

}  // namespace

class VirtioScsi::Command final : public ScsiJob {
 public:
  std::span<const u8> cdb() const override { return std::span(cdb_).first(cdb_bytes_); }
  u64 tag() const override { return tag_; }
  bool open(const ScsiCommand& command, std::vector<iovec>& data) override;
  void finish(const ScsiResult& result, ScsiEnd end) override;
  void respond(Response response, const ScsiResult& result);

  std::shared_ptr<VirtQueue> queue_;
  VirtElementPtr element_;
  std::array<u8, 16> cdb_{};
  u32 cdb_bytes_ = 0;
  u32 sense_room_ = 0;
  u64 tag_ = 0;
  u64 out_at_ = 0, out_bytes_ = 0;  ///< data from the guest: where in the readable buffers, and how much
  u64 in_at_ = 0, in_bytes_ = 0;

 private:
  std::vector<mem::PinnedSpan> spans_;
};

bool VirtioScsi::Command::open(const ScsiCommand& command, std::vector<iovec>& data) {
  EMU_TRACE("virtio_scsi_cmd_req", "queue {} tag {:#x} opcode {:#x} bytes {}", queue_->index(), tag_, cdb_[0],
            command.bytes);
  if (command.direction == ScsiDirection::None) return true;
  const bool in = command.direction == ScsiDirection::In;
  if (command.bytes > (in ? in_bytes_ : out_bytes_)) {
    respond(kResponseOverrun, {});
    return false;
  }
  const auto towards = in ? mem::Direction::ToGuest : mem::Direction::FromGuest;
  if (!element_->map(towards, in ? in_at_ : out_at_, command.bytes, spans_)) {
    log::guest_error("virtio-scsi: a buffer is not in RAM");
    respond(kResponseTransportFailure, {});
    return false;
  }
  data = to_iovecs(spans_);
  return true;
}

void VirtioScsi::Command::finish(const ScsiResult& result, ScsiEnd end) {
  switch (end) {
    case ScsiEnd::Done: return respond(kResponseOk, result);
    case ScsiEnd::Aborted: return respond(kResponseAborted, {});
    case ScsiEnd::Reset: return respond(kResponseReset, {});
    case ScsiEnd::Gone: return respond(kResponseBadTarget, {});
  }
}

void VirtioScsi::Command::respond(Response response, const ScsiResult& result) {
  spans_.clear();  // released before anything tells the driver
  CommandResponse header;
  header.response = response;
  std::array<u8, 18> sense{};
  u32 sense_bytes = 0;
  if (response == kResponseOk) {
    header.status = result.status;
    header.residual = u32(std::min<u64>(in_bytes_ + out_bytes_ - std::min(result.bytes, in_bytes_ + out_bytes_), ~0u));
    if (result.sense) {
      sense = ScsiUnit::fixed_sense(result.sense);
      sense_bytes = std::min(u32(sense.size()), sense_room_);
    }
  }
  header.sense_length = sense_bytes;
  queue_->while_current(*element_, [&] {
    // Those who put it where there is no RAM do not learn of it.
    static_cast<void>(element_->write<CommandResponse>(0, header));
    static_cast<void>(element_->write(sizeof header, std::span<const u8>(sense).first(sense_bytes)));
  });
  EMU_TRACE("virtio_scsi_cmd_resp", "queue {} tag {:#x} response {} status {:#x}", queue_->index(), tag_,
            header.response, header.status);
  const u64 data = in_bytes_ != 0 && response == kResponseOk ? result.bytes : 0;
  queue_->push_and_notify(std::move(element_), u32(std::min<u64>(in_at_ + data, ~0u)));
}

void VirtioScsi::start(const std::shared_ptr<VirtQueue>& queue, VirtElementPtr element) {
  const u32 sense_size = sense_size_, cdb_size = cdb_size_;
  const u64 out_at = sizeof(CommandHeader) + cdb_size, in_at = sizeof(CommandResponse) + sense_size;
  const auto header = element->read<CommandHeader>(0);
  if (!header || element->readable_bytes() < out_at || element->writable_bytes() < in_at) {
    return queue->fail(std::move(element), "wrong size for virtio-scsi headers");
  }
  auto command = std::make_unique<Command>();
  command->cdb_bytes_ = std::min(cdb_size, u32(command->cdb_.size()));
  if (!element->read(sizeof(CommandHeader), std::span(command->cdb_).first(command->cdb_bytes_))) {
    return queue->fail(std::move(element), "a command that is not in RAM");
  }
  command->queue_ = queue;
  command->sense_room_ = sense_size;
  command->tag_ = header->id.get();
  command->out_at_ = out_at;
  command->out_bytes_ = element->readable_bytes() - out_at;
  command->in_at_ = in_at;
  command->in_bytes_ = element->writable_bytes() - in_at;
  command->element_ = std::move(element);
  if (command->in_bytes_ != 0 && command->out_bytes_ != 0) return command->respond(kResponseFailure, {});  // no INOUT

  const auto address = address_of(header->lun);
  if (!address) return command->respond(kResponseBadTarget, {});
  if (std::shared_ptr<ScsiSession> session = bus_->find(*address)) return session->start(std::move(command));
  answer_without_unit(*command, *address);
}

void VirtioScsi::answer_without_unit(Command& command, const ScsiAddress& address) {
  if (!bus_->has_target(0, address.target)) return command.respond(kResponseBadTarget, {});
  std::vector<u8> reply(std::min(command.in_bytes_, kMostReply));
  const iovec part{reply.data(), reply.size()};
  ScsiResult result = bus_->answer_without_unit(0, address.target, command.cdb(), block::IoVec(&part, 1));
  const auto data = std::span<const u8>(reply).first(result.bytes);
  command.queue_->while_current(*command.element_, [&] {
    if (!command.element_->write(command.in_at_, data)) result.bytes = 0;
  });
  command.respond(kResponseOk, result);
}

}  // namespace emu::hw
