// An OpenID provider for tests, on loopback: npm's oidc-provider with a sign-in page of our own.
//
// It keeps people signed in as an organisation's does, so that `max_age` and `acr_values` mean
// something: node oidc_provider.mjs NODE_MODULES PORT CLIENT-AS-JSON PEOPLE-AS-JSON
import { createServer } from 'node:http'
import { pathToFileURL } from 'node:url'

const [modules, port, client, people] = process.argv.slice(2)
const { default: Provider } = await import(
  pathToFileURL(`${modules}/oidc-provider/lib/index.js`).href
)
const known = JSON.parse(people)

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [JSON.parse(client)],
  acrValues: ['urn:example:two-factors'],
  claims: { openid: ['sub'], profile: ['tenant'], acr: null, amr: null, auth_time: null },
  conformIdTokenClaims: false,
  cookies: { keys: ['of a test'] },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (ctx, id) => known[id] && { accountId: id, claims: () => ({ sub: id, ...known[id] }) },
  // Nobody is asked for consent: whatever the client asks for is granted.
  async loadExistingGrant(ctx) {
    const grant = new ctx.oidc.provider.Grant({
      clientId: ctx.oidc.client.clientId,
      accountId: ctx.oidc.session.accountId,
    })
    grant.addOIDCScope('openid profile')
    await grant.save()
    return grant
  },
})

function page({ prompt, params }) {
  const reasons = prompt.reasons.join(' ')
  return `<!doctype html><html lang="en"><title>Provider</title><h1>Provider</h1>
<p id="asked">because ${reasons}; acr_values ${params.acr_values ?? 'none'}</p>
<form method="post"><label>User <input name="user" required></label>
<label>Signed in so many seconds ago <input name="ago" value="0"></label>
<label><input type="checkbox" name="two" value="1"> Two factors</label>
<button>Sign in</button></form></html>`
}

async function form(request) {
  let text = ''
  for await (const piece of request) text += piece
  return new URLSearchParams(text)
}

async function interact(request, response) {
  if (request.method === 'GET') {
    response.setHeader('content-type', 'text/html; charset=utf-8')
    response.end(page(await provider.interactionDetails(request, response)))
    return
  }
  const said = await form(request)
  const two = said.has('two')
  const login = {
    accountId: said.get('user'),
    ts: Math.floor(Date.now() / 1000) - Number(said.get('ago')),
    acr: two ? 'urn:example:two-factors' : undefined,
    amr: two ? ['pwd', 'otp'] : ['pwd'],
  }
  await provider.interactionFinished(request, response, { login }, { mergeWithLastSubmission: false })
}

const serve = provider.callback()
createServer((request, response) => {
  if (!request.url.startsWith('/interaction/')) return serve(request, response)
  return interact(request, response).catch((error) => {
    response.statusCode = 400
    response.end(String(error))
  })
}).listen(Number(port), '127.0.0.1')
