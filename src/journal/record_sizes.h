#pragma once

#include <cstddef>
#include <cstdint>

#include "postern/mail/envelope.h"

/// What the writer and the reader of payloads must agree on; format.md has the layouts.
namespace postern::journal {

constexpr std::size_t message_fixed_size = 48;
constexpr std::size_t recipient_fixed_size = 21;
constexpr std::size_t part_size = 16;
constexpr std::size_t progress_fixed_size = 8;
constexpr std::size_t step_fixed_size = 20;

constexpr std::uint16_t bit_smtputf8 = 1;
constexpr std::uint16_t bit_trusted = 2;
constexpr std::uint16_t bit_held = 4;
constexpr std::uint16_t bit_notification = 8;
constexpr std::uint16_t bit_has_eight_bit = 16;
constexpr std::uint16_t bit_has_utf8_header = 32;
constexpr std::uint16_t bit_has_dot_line = 64;
constexpr std::uint16_t bit_beyond = 128;  // this and what is higher is of no meaning yet

constexpr mail::NotifySet notify_beyond = 16;

// These stand on disks: whoever gives them other values makes another version of the format.
static_assert(
    mail::set_of(mail::Notify::never) == 1 && mail::set_of(mail::Notify::success) == 2 &&
    mail::set_of(mail::Notify::failure) == 4 && mail::set_of(mail::Notify::delay) == 8);
static_assert(
    static_cast<int>(mail::Returned::full) == 1 && static_cast<int>(mail::Returned::headers) == 2);
static_assert(
    static_cast<int>(mail::BodyType::seven_bit) == 1 &&
    static_cast<int>(mail::BodyType::eight_bit_mime) == 2);

}  // namespace postern::journal
