// SPDX-License-Identifier: Apache-2.0
#include "chardev/fd_chardev.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace emu::chardev {

FdChardev::FdChardev(std::string id, EventLoop& loop) : Chardev(std::move(id)), loop_(loop) {}
FdChardev::~FdChardev() = default;

void FdChardev::open_streams(int in_fd, int out_fd) {
  close_streams();
  if (in_fd >= 0) {
    in_fd_ = in_fd;
    input_held_ = false;
    in_watch_ = loop_.watch_fd(in_fd, FdEvents::Read, [this](FdEvents) { on_readable(); });
  }
  if (out_fd >= 0) {
    struct stat status {};
    out_watch_ = loop_.watch_fd(out_fd, FdEvents::None, [this](FdEvents ready) { on_writable(ready); });
    const std::lock_guard lock(mutex_);
    out_is_socket_ = ::fstat(out_fd, &status) == 0 && S_ISSOCK(status.st_mode);
    out_fd_ = out_fd;
    out_epoch_++;
  }
}

void FdChardev::close_streams() {
  in_watch_.reset();
  in_fd_ = -1;
  bool waited = false;
  {
    const std::lock_guard lock(mutex_);
    waited = std::exchange(starved_, false);
    break_output_locked();
  }
  out_watch_.reset();
  if (waited && frontend()) frontend()->writable();
}

void FdChardev::accept_input() {
  if (input_held_.exchange(false)) post([this] { in_watch_.set_events(FdEvents::Read); });
}

ssize_t FdChardev::read_input(int fd, std::span<u8> to) { return ::read(fd, to.data(), to.size()); }

void FdChardev::on_readable() {
  std::size_t room = frontend() ? frontend()->can_receive() : 0;
  if (room == 0) {
    input_held_ = true;
    in_watch_.set_events(FdEvents::None);
    // A thread may have made room just before it could see that; if it saw it, its posted call watches again.
    if (!frontend() || frontend()->can_receive() == 0) return;
    if (input_held_.exchange(false)) in_watch_.set_events(FdEvents::Read);
    return;
  }
  u8 data[4096];
  const ssize_t n = read_input(in_fd_, std::span(data).first(std::min(room, sizeof data)));
  if (n > 0) {
    frontend()->receive(std::span(data, std::size_t(n)));
  } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
    in_watch_.reset();
    in_fd_ = -1;
    input_ended();
  }
}

FdChardev::Output FdChardev::write_locked(std::span<const u8> data, std::size_t& done) {
  while (!data.empty()) {
    const ssize_t n = out_is_socket_ ? ::send(out_fd_, data.data(), data.size(), MSG_NOSIGNAL | MSG_DONTWAIT)
                                     : ::write(out_fd_, data.data(), data.size());
    if (n > 0) {
      done += std::size_t(n);
      data = data.subspan(std::size_t(n));
    } else if (n == 0 || errno == EAGAIN) {
      return Output::Fine;
    } else if (errno != EINTR) {
      return Output::Broken;
    }
  }
  return Output::Fine;
}

void FdChardev::break_output_locked() {
  out_fd_ = -1;
  pending_.clear();
  armed_ = false;
}

std::size_t FdChardev::do_write(std::span<const u8> data) {
  const std::lock_guard lock(mutex_);
  if (out_fd_ < 0) return data.size();
  std::size_t done = 0;
  if (pending_.empty() && write_locked(data, done) == Output::Broken) {
    break_output_locked();
    post([this, epoch = out_epoch_] {
      {
        const std::lock_guard relock(mutex_);
        if (epoch != out_epoch_ || out_fd_ >= 0) return;
      }
      out_watch_.reset();
      output_broken();
    });
    return data.size();
  }
  const std::size_t kept = std::min(data.size() - done, kOutputLimit - pending_.size());
  pending_.push(data.subspan(done, kept));
  starved_ |= done + kept < data.size();
  if (!pending_.empty() && !armed_) {
    armed_ = true;
    post([this] { out_watch_.set_events(FdEvents::Write); });
  }
  return done + kept;
}

void FdChardev::on_writable(FdEvents ready) {
  bool broken = false, tell_room = false;
  {
    const std::lock_guard lock(mutex_);
    if (out_fd_ < 0) return;
    std::size_t done = 0;
    broken = write_locked(pending_.front(), done) == Output::Broken || (done == 0 && any(ready & FdEvents::HangUp));
    pending_.pop(done);
    if (broken) break_output_locked();
    if (pending_.empty()) armed_ = false;
    if (pending_.size() <= kOutputLimit / 2) tell_room = std::exchange(starved_, false);
    if (broken) {
      out_watch_.reset();
    } else if (!armed_) {
      out_watch_.set_events(FdEvents::None);
    }
  }
  if (broken) output_broken();
  if (tell_room && frontend()) frontend()->writable();
}

}  // namespace emu::chardev
