// SPDX-License-Identifier: Apache-2.0
#include "chardev/chardev.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>

#include "util/trace.h"

namespace emu::chardev {

std::size_t Chardev::write(std::span<const u8> data) {
  if (data.empty()) return 0;
  if (muted_) return data.size();
  const std::size_t taken = do_write(data);
  EMU_TRACE("chr_write", "id {} bytes {} taken {}", id_, data.size(), taken);
  // A full disk must not stop the guest: what the log cannot take is lost.
  if (log_) (void)!::write(log_.get(), data.data(), taken);
  return taken;
}

Result<void> Chardev::attach(ChardevFrontend& frontend) {
  if (frontend_) return error("chardev '{}' is already in use", id_);
  frontend_ = &frontend;
  if (is_open()) frontend.event(ChardevEvent::Opened);
  accept_input();
  return {};
}

void Chardev::detach(ChardevFrontend& frontend) {
  if (frontend_ == &frontend) frontend_ = nullptr;
}

Result<void> Chardev::log_to(const std::string& path, bool append) {
  log_.reset(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_APPEND | (append ? 0 : O_TRUNC), 0666));
  if (!log_) return error("chardev '{}': cannot open the log file '{}': {}", id_, path, std::strerror(errno));
  return {};
}

void Chardev::tell(ChardevEvent event) {
  EMU_TRACE("chr_event", "id {} event {}", id_, unsigned(event));
  if (frontend_) frontend_->event(event);
}

}  // namespace emu::chardev
