// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/rng_backend.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "util/random.h"

namespace emu::hw {

std::size_t RngBuiltin::read(std::span<u8> to) {
  for (std::size_t done = 0; done < to.size();) {
    const u64 number = random_u64();
    const std::size_t piece = std::min(sizeof number, to.size() - done);
    std::memcpy(to.data() + done, &number, piece);
    done += piece;
  }
  return to.size();
}

void RngRandom::describe(qom::TypeInfo<RngRandom>& type) {
  type.doc("Random numbers from a file or device");
  type.property("filename", &RngRandom::filename_, "the file");
}

Result<void> RngRandom::complete() {
  fd_ = Fd(::open(filename_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!fd_) return error("Could not open '{}': {}", filename_, std::strerror(errno));
  return {};
}

std::size_t RngRandom::read(std::span<u8> to) {
  ssize_t got = 0;
  do {
    got = ::read(fd_.get(), to.data(), to.size());
  } while (got < 0 && errno == EINTR);
  return got < 0 ? 0 : std::size_t(got);
}

void register_rng_backends(qom::TypeRegistry& registry) {
  registry.add_abstract<RngBackend, qom::UserCreatable>();
  registry.add<RngBuiltin>("rng-builtin");
  registry.add<RngRandom>("rng-random");
}

}  // namespace emu::hw
