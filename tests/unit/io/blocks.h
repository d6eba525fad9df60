#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "postern/io/file.h"
#include "postern/io/ring.h"

/// What tests of files need on either ring: aligned memory, and an operation's result.
namespace postern::io::test {

/// Memory as a write past the page cache wants it.
struct Blocks {
    explicit Blocks(std::size_t count, char with = '\0') : octets(count * file_block_size) {
        data = static_cast<char*>(std::aligned_alloc(file_block_size, octets));
        std::fill_n(data, octets, with);
    }

    ~Blocks() { std::free(data); }

    Blocks(const Blocks&) = delete;

    std::span<char> all() { return {data, octets}; }

    std::size_t octets;
    char* data;
};

/// An operation that keeps its result.
struct Operation : Completion {
    Operation()
        : Completion([](Completion& self, Done done) {
              static_cast<Operation&>(self).result = done.result;
          }) {}

    std::int32_t result = 0;
};

inline std::int32_t result_of(Ring& ring, Operation& operation) {
    while (operation.armed()) {
        ring.turn(ring.now() + std::chrono::seconds(10));
    }
    return operation.result;
}

}  // namespace postern::io::test
