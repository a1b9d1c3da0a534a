// An exchange with its redirects. They are followed here and not by libcurl, because what may be
// sent to the next host is our decision (security.md C4): credentials go to the scheme, host and
// port of the first URL only, a redirect never leads from https to http, and after five of them it
// is enough.
#pragma once

#include "registry/exchange.h"

namespace img::registry {

// What hosts other than the registry's get: no client certificate.
Transport forStrangers(const Transport& transport);

struct Route {
  const Transport& transport;  // for the first origin; others get no client certificate
  const Patience& patience;
  int redirects = 5;
};

// An answer whose url has another origin than the request's comes from where a redirect led. A
// redirect that must not be followed is a failure.
Task<Outcome> follow(Loop& loop, const HttpRequest& request, const Route& route,
                     BodyReceiver* receiver);

}  // namespace img::registry
