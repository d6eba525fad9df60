#include <algorithm>

#include "postern/shard/snapshot.h"

namespace postern::shard {

base::Result<std::shared_ptr<const tls::ClientContext>> client_context_of(
    const config::Pool& pool, const tls::Library& library) {
    if (pool.tls == config::PoolTls::none) {
        return std::shared_ptr<const tls::ClientContext>();
    }
    tls::ClientSettings settings;
    settings.verify = pool.tls == config::PoolTls::verify;
    settings.ca_file = pool.tls_ca;
    if (!pool.tls_cert.empty()) {
        auto pair = tls::KeyPair::load(pool.tls_cert, pool.tls_key);
        if (!pair) {
            return pair.error();
        }
        settings.pair = std::move(*pair);
    }
    auto context = tls::ClientContext::create(library, settings);
    if (!context) {
        return context.error();
    }
    return std::shared_ptr<const tls::ClientContext>(std::move(*context));
}

void set_pool_tls(Snapshot& snapshot, const PoolContexts& contexts) {
    const std::vector<config::Pool>& configured = snapshot.config.pools;
    POSTERN_ASSERT(
        contexts.size() == configured.size() + 1, "each configured pool has its context, or null");
    for (const relay::PoolSettings& pool : snapshot.pools) {
        const auto named =
            std::find_if(configured.begin(), configured.end(), [&](const config::Pool& each) {
                return !pool.by_rule && each.name == pool.name;
            });
        snapshot.pool_tls.push_back(contexts[static_cast<std::size_t>(named - configured.begin())]);
    }
}

}  // namespace postern::shard
