#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "../unit/smtp/host_model.h"
#include "tests/sim/sim_world.h"

namespace postern::sim {

/// A smart host's end of one connection.
struct HostEnd {
    HostEnd(
        World& world,
        std::shared_ptr<Socket> socket,
        std::size_t host_number,
        const smtp::test::HostModel::Manners& manners)
        : world_(world),
          host(host_number),
          random{world.random().next()},
          model(manners, random),
          peer(world, std::move(socket), [this](Peer&) { move(); }) {
        say();
    }

    void move() {
        model.feed(std::exchange(peer.received, {}));
        taken_at.resize(model.deliveries.size(), world_.now());
        refused_at.resize(model.refused.size(), world_.now());
        say();
        if (!ended && (model.closed || peer.over())) {
            ended = true;
            peer.end();
        }
    }

    void say() {
        if (!model.out.empty()) {
            peer.write(std::exchange(model.out, {}));
        }
    }

   private:
    World& world_;

   public:
    const std::size_t host;
    std::vector<base::Instant> taken_at;    // when each of the model's deliveries was
    std::vector<base::Instant> refused_at;  // and each of its refusals
    smtp::test::Random random;
    smtp::test::HostModel model;
    bool ended = false;
    Peer peer;
};

/// The host dies, and all its connections with it.
inline void cut_off(const std::vector<std::unique_ptr<HostEnd>>& ends, std::size_t host) {
    for (const auto& end : ends) {
        if (end->host == host && !end->ended) {
            end->ended = true;
            end->peer.reset();
        }
    }
}

}  // namespace postern::sim
