import * as fc from 'fast-check'

// Property tests try the same cases every time, so that a run can be repeated; another seed tries others.
fc.configureGlobal({ seed: Number(process.env['TAPESTRY_PROPERTY_SEED'] ?? 1) })
