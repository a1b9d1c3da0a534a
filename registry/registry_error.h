// What a registry says when it refuses, as an Error of ours (OCI distribution-spec, "Error codes").
// Its text is untrusted: shortened and escaped.
#pragma once

#include <string>
#include <string_view>

#include "registry/endpoint.h"

namespace img::registry {

// "401 Unauthorized"; the number alone when it has no name.
std::string statusText(long status);
// The codes and messages of an error document, joined; of another text its beginning; may be empty.
std::string registryMessage(std::string_view body);

// `action`: "get manifest latest". Cause, status, the registry's words, request id, tries; kind and
// code follow from the status.
Error refusal(const Endpoint& endpoint, std::string_view action, const HttpAnswer& answer,
              int tries);
// The same for an exchange without an answer.
Error unreachable(const Endpoint& endpoint, std::string_view action, const Error& failure,
                  int tries);

}  // namespace img::registry
