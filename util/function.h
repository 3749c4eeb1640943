// SPDX-License-Identifier: Apache-2.0
// A callable that is moved, not copied: what is posted to another thread owns what it carries.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

namespace emu {

template <typename Signature>
class UniqueFunction;

template <typename R, typename... Args>
class UniqueFunction<R(Args...)> {
 public:
  UniqueFunction() = default;
  template <typename F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, UniqueFunction> && std::is_invocable_r_v<R, F&, Args...>)
      UniqueFunction(F&& callable)  // NOLINT: converts like std::function
      : body_(std::make_unique<Holder<std::decay_t<F>>>(std::forward<F>(callable))) {}

  explicit operator bool() const { return body_ != nullptr; }
  R operator()(Args... args) { return body_->call(std::forward<Args>(args)...); }

 private:
  struct Body {
    virtual ~Body() = default;
    virtual R call(Args... args) = 0;
  };
  template <typename F>
  struct Holder final : Body {
    explicit Holder(const F& f) : callable(f) {}
    explicit Holder(F&& f) : callable(std::move(f)) {}
    R call(Args... args) override { return callable(std::forward<Args>(args)...); }
    F callable;
  };
  std::unique_ptr<Body> body_;
};

}  // namespace emu
