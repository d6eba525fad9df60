#pragma once

#include <cstddef>
#include <cstdint>

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

constexpr std::uint8_t notify_beyond = 16;

}  // namespace postern::journal
