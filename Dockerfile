# One image for coordinator, worker and node: the command decides.
FROM node:22-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY . .
RUN node scripts/ready.mjs && npm prune --omit=dev

FROM node:22-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY --from=build /app/bin bin
COPY --from=build /app/prisma prisma
COPY --from=build /app/proto proto
RUN install -d -o node -g node /data
USER node
ENV TAPESTRY_DIR=/data
VOLUME /data
EXPOSE 7400
ENTRYPOINT ["./bin/tapestry"]
CMD ["coordinator", "serve", "--host", "0.0.0.0"]
