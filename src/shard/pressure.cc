#include "pressure.h"

#include <cstdint>

namespace postern::shard {
namespace {

using Resource = metrics::Resource;

constexpr std::uint64_t parts_left = 8;

bool nearly_used_up(std::uint64_t used, std::uint64_t most) {
    return used * parts_left > most * (parts_left - 1);  // a part of few is less than one
}

}  // namespace

bool Pressure::connections() const {
    return nearly_used_up(common_.connections.value(), common_.connections_max);
}

bool Pressure::body_memory() const {
    return nearly_used_up(common_.bodies.leased(), common_.bodies.bound());
}

bool Pressure::envelopes() const {
    return nearly_used_up(envelopes_.used(), envelopes_.count_max());
}

bool Pressure::buffers() const {
    const base::BlockPool& commands = ring_.buffers(io::BufferGroup::command);
    return nearly_used_up(commands.used(), commands.count_max()) || inbound_.short_of_buffers();
}

bool Pressure::look(metrics::Series& own) const {
    bool any = false;
    const auto set = [&](Resource resource, bool pressed) {
        own.set<metrics::Metric::pressure>(pressed ? 1 : 0, resource);
        any = any || pressed;
    };
    set(Resource::connections, connections());
    set(Resource::body_memory, body_memory());
    set(Resource::envelopes, envelopes());
    set(Resource::buffers, buffers());
    return any;
}

}  // namespace postern::shard
