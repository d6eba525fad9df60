#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "postern/base/assert.h"

/// What the world answers. Three kinds of wrong exist here: the peer's is a reply value, the
/// world's (a file, a socket, the kernel, a name) is a Result, ours is an assertion. A Result is a
/// plain value; any thread, no ownership beyond its content.
namespace postern::base {

/// One clear sentence: what was attempted, with what, why it failed, and what to do.
struct Error {
    std::string text;
};

template <class T>
class [[nodiscard]] Result {
   public:
    Result(T value) : content_(std::move(value)) {}  // NOLINT: a value is a result

    Result(Error error) : content_(std::move(error)) {}  // NOLINT: and so is an error

    bool ok() const { return content_.index() == 0; }

    explicit operator bool() const { return ok(); }

    T& value() {
        POSTERN_ASSERT(ok(), "the value of a failed result was asked for");
        return *std::get_if<0>(&content_);
    }

    const T& value() const {
        POSTERN_ASSERT(ok(), "the value of a failed result was asked for");
        return *std::get_if<0>(&content_);
    }

    T& operator*() { return value(); }

    const T& operator*() const { return value(); }

    T* operator->() { return &value(); }

    const T* operator->() const { return &value(); }

    const Error& error() const {
        POSTERN_ASSERT(!ok(), "the error of a good result was asked for");
        return *std::get_if<1>(&content_);
    }

   private:
    std::variant<T, Error> content_;
};

template <>
class [[nodiscard]] Result<void> {
   public:
    Result() = default;

    Result(Error error) : error_(std::move(error)) {}  // NOLINT: an error is a result

    bool ok() const { return !error_.has_value(); }

    explicit operator bool() const { return ok(); }

    const Error& error() const {
        POSTERN_ASSERT(!ok(), "the error of a good result was asked for");
        return *error_;
    }

   private:
    std::optional<Error> error_;
};

}  // namespace postern::base
