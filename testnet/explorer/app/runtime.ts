/** First of all imports: what the platform allows under the page's content policy. */

import * as z from "zod";

// zod would compile its schemas with `new Function`, which the policy forbids, and which the browser would report.
z.config({ jitless: true });
