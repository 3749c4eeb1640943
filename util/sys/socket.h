// SPDX-License-Identifier: Apache-2.0
// What sockets have in common wherever they are opened: a look without connecting, and words for what went wrong.
#pragma once

#include <sys/socket.h>

#include <string_view>

#include "util/result.h"

namespace emu::sys {

/// Whether a stream socket is bound at a unix address, without connecting to it: 0, or the errno connect() would give.
int probe_unix_stream(const sockaddr* address, socklen_t size);

/// "cannot listen on 'tcp::80': Permission denied" with what helps; `why` is the errno of bind() or listen().
Error listen_error(std::string_view address, int why);
/// The same for a client.
Error connect_error(std::string_view address, int why);

}  // namespace emu::sys
