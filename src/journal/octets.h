#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>

/// Numbers and texts to octets and back. Little-endian, as all machines that Postern runs on.
namespace postern::journal {

/// Writes behind one another; the caller has seen to the room.
struct Writer {
    char* at;

    template <class T>
    void put(T value) {
        static_assert(std::is_integral_v<T> || std::is_enum_v<T>);
        std::memcpy(at, &value, sizeof value);
        at += sizeof value;
    }

    void put_text(std::string_view text) {
        if (!text.empty()) {
            std::memcpy(at, text.data(), text.size());
        }
        at += text.size();
    }
};

/// Takes from the front; once something was not there, all that follows is zero and `good` false.
struct Reader {
    std::string_view left;
    bool good = true;

    template <class T>
    T take() {
        static_assert(std::is_integral_v<T>);
        T value{};
        const std::string_view octets = take_text(sizeof value);
        if (good) {
            std::memcpy(&value, octets.data(), sizeof value);
        }
        return value;
    }

    std::string_view take_text(std::uint64_t size) {
        good = good && size <= left.size();
        if (!good) {
            return {};
        }
        const std::string_view text = left.substr(0, size);
        left.remove_prefix(size);
        return text;
    }

    /// A number of an enumeration whose last is `last`.
    template <class E>
    E take_enum(E last) {
        const auto number = take<std::uint8_t>();
        good = good && number <= static_cast<std::uint8_t>(last);
        return good ? static_cast<E>(number) : E{};
    }
};

inline std::uint32_t rounded_up(std::uint64_t octets, std::uint32_t to) {
    return static_cast<std::uint32_t>((octets + to - 1) / to * to);
}

}  // namespace postern::journal
