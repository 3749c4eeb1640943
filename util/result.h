// SPDX-License-Identifier: Apache-2.0
// Result<T>: a value or an Error. The spelling is std::expected's, so that C++23 is a rename.
#pragma once

#include <fmt/format.h>

#include <string>
#include <tl/expected.hpp>
#include <utility>

#include "util/check.h"

namespace emu {

/// QMP's error classes; the name is what goes on the wire.
enum class ErrorClass { GenericError, CommandNotFound, DeviceNotActive, DeviceNotFound, KVMMissingCap };

/// What went wrong outside us: one sentence without a full stop, and optionally how to mend it.
class Error {
 public:
  explicit Error(std::string message, ErrorClass error_class = ErrorClass::GenericError)
      : class_(error_class), message_(std::move(message)) {}

  ErrorClass error_class() const { return class_; }
  const std::string& message() const { return message_; }
  const std::string& hint() const { return hint_; }

  /// A second sentence that names the fix, e.g. "did you mean 'q35'?".
  Error with_hint(std::string hint) && {
    hint_ = std::move(hint);
    return std::move(*this);
  }
  /// Puts what only the caller knows in front: "drive disk0: " + message.
  Error within(const std::string& context) && {
    message_ = context + ": " + message_;
    return std::move(*this);
  }
  /// Message and hint as one text for a person.
  std::string text() const { return hint_.empty() ? message_ : message_ + "\n" + hint_; }

 private:
  ErrorClass class_;
  std::string message_;
  std::string hint_;
};

template <typename T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using tl::expected<T, Error>::expected;
};
using tl::unexpected;

/// `return error("{}: no such machine", name);` converts to any Result<T>.
template <typename... Args>
tl::unexpected<Error> error(fmt::format_string<Args...> format, Args&&... args) {
  return tl::unexpected<Error>(Error(fmt::format(format, std::forward<Args>(args)...)));
}
inline tl::unexpected<Error> error(Error e) { return tl::unexpected<Error>(std::move(e)); }

namespace detail {
template <typename R>
auto propagate(R&& r) {
  return tl::unexpected<Error>(std::forward<R>(r).error());
}
template <typename R>
auto propagate(R&& r, const std::string& context) {
  return tl::unexpected<Error>(std::forward<R>(r).error().within(context));
}
}  // namespace detail
}  // namespace emu

/// `auto image = EMU_TRY(Image::open(path), "drive " + id);`: the value, or return the error from this function, with
/// the optional context in front. Not for coroutines: there EMU_CO_TRY on an awaited result.
#define EMU_TRY(expression, ...)                                                                   \
  ({                                                                                               \
    auto emu_try_result_ = (expression);                                                           \
    if (!emu_try_result_) [[unlikely]]                                                             \
      return ::emu::detail::propagate(std::move(emu_try_result_) __VA_OPT__(, ) __VA_ARGS__);      \
    ::emu::detail::take(std::move(emu_try_result_));                                               \
  })

#define EMU_CO_TRY(result) \
  if (!(result)) [[unlikely]] co_return ::emu::detail::propagate(std::move(result))

namespace emu::detail {
template <typename T>
T take(Result<T>&& r) {
  if constexpr (!std::is_void_v<T>) return std::move(*r);
}
}  // namespace emu::detail
