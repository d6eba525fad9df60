#pragma once

#include <string>
#include <vector>

#include "postern/base/result.h"
#include "postern/route/explain.h"
#include "postern/shard/snapshot.h"

/// `postern route`, for a configuration that was just read and for the one in force: where mail for
/// some addresses goes, and why.
namespace postern::app {

/// Takes out what is no address; a sentence about each.
std::vector<std::string> take_out_wrong(std::vector<std::string>& addresses);

/// One explanation for each address. `from`: the client's address; empty: any client. The error
/// names the word that is wrong.
base::Result<std::vector<route::Explanation>> explain(
    const shard::Snapshot& snapshot,
    const std::vector<std::string>& addresses,
    const std::string& from);

/// The name of the pool that it ends at, or of the host; empty: at none.
std::string pool_of(const route::Explanation& explanation, const route::Table& table);

}  // namespace postern::app
