// Lets a worker thread run TypeScript from source. On Node 20 `--import tsx` does nothing in one:
// the loader has to be registered by name. Plain JavaScript, since nothing could load it otherwise.
import { register } from 'tsx/esm/api'

register()
