// SPDX-License-Identifier: Apache-2.0
// -object filter-dump: writes a back end's packets to a pcap file.
#pragma once

#include "net/net_client.h"
#include "qom/user_creatable.h"
#include "util/fd.h"

namespace emu::net {

class FilterDump final : public qom::UserCreatable, private PacketObserver {
 public:
  static void describe(qom::TypeInfo<FilterDump>& type);
  ~FilterDump() override;
  Result<void> complete() override;

 private:
  enum class Queue : u8 { All, Rx, Tx };
  enum class Status : u8 { On, Off };
  enum class Insert : u8 { Before, Behind };
  void packet_sent(const Packet& packet) override;
  void packet_received(const Packet& packet) override;
  void client_gone() override { client_ = nullptr; }
  void write(const Packet& packet);

  NetClient* client_ = nullptr;
  std::string file_, position_ = "tail";
  u32 most_bytes_ = 65536;
  Queue queue_ = Queue::All;
  Status status_ = Status::On;
  Insert insert_ = Insert::Behind;
  Fd fd_;
};

}  // namespace emu::net
